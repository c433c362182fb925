"""Reports of studies: `write(gather(record), folder)` while a study runs and when it ends, `rebuild(folder)` later."""

from resnetlab.reports.build import assemble, build
from resnetlab.reports.evidence import Evidence, gather
from resnetlab.reports.latex import write_latex
from resnetlab.reports.model import Report
from resnetlab.reports.write import rebuild, write

__all__ = ["Evidence", "Report", "assemble", "build", "gather", "rebuild", "write", "write_latex"]
