"""Reports: pages, documents and figures from what an analysis found.

`write_report(study_data, folder)` writes a report while a study runs and when it
ends; `rebuild(folder)` writes it again. Start with `study/assemble.py`, then `write.py`.
"""

from resnetlab.reports.document import Report
from resnetlab.reports.render.latex import write_latex
from resnetlab.reports.study.assemble import build_report
from resnetlab.reports.write import rebuild, write_report

__all__ = [
    "Report",
    "build_report",
    "rebuild",
    "write_latex",
    "write_report",
]
