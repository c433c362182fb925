"""Reports of studies.

`write(gather(record), folder)` writes a report while a study runs and when it ends;
`rebuild(folder)` writes it again.
"""

from resnetlab.analysis.study_data import Evidence, gather
from resnetlab.reports.document import Report
from resnetlab.reports.render.latex import write_latex
from resnetlab.reports.study.assemble import assemble, build
from resnetlab.reports.write import rebuild, write

__all__ = ["Evidence", "Report", "assemble", "build", "gather", "rebuild", "write", "write_latex"]
