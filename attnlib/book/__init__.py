"""What chapters alone need: numbers in sentences, tables, plots, results of benchmarks, widgets, training."""

from attnlib.book.output import Formula as Formula
from attnlib.book.output import Table as Table
from attnlib.book.output import formula as formula
from attnlib.book.output import glue as glue
from attnlib.book.output import mathml as mathml
from attnlib.book.output import say as say
from attnlib.book.output import shell as shell
from attnlib.book.output import table as table
from attnlib.book.output import text as text
from attnlib.book.questions import ask as ask
