"""What the tools find in a cohort whose truth is known: read every case, match, count, print.

from app.measuring import markdown, measure
print(markdown(measure(Path("cohort"), command="tomoscribe measure cohort")))
"""

from app.measuring.cohort import measure
from app.measuring.table import markdown

__all__ = ["markdown", "measure"]
