"""Templates of the pages: what they get is escaped, and what they lack is an error."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from onecycle.writing.names import on_a_page

ENVIRONMENT = Environment(
    loader=PackageLoader("onecycle"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=on_a_page,
    trim_blocks=True,
    lstrip_blocks=True,
)
