"""What mkdocstrings calls for the API reference: a setting is documented by its own declaration."""

import ast
from typing import Any

import griffe


class Settings(griffe.Extension):
    """Takes the `help` of a field made by `setting` for its docstring."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        call = attr.value
        if not isinstance(call, griffe.ExprCall) or str(call.function) != "setting":
            return
        for argument in call.arguments:
            if isinstance(argument, griffe.ExprKeyword) and argument.name == "help":
                attr.docstring = griffe.Docstring(ast.literal_eval(str(argument.value)))
                attr.value = str(call.arguments[0])  # the default
