"""One file a tool: each reads a Case and returns evidence."""

from vlm.tools.registry import TOOLS, Tool, load_tools, tool

__all__ = ["TOOLS", "Tool", "load_tools", "tool"]
