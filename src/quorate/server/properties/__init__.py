"""The common properties of groups, nodes and clusters as tables: name, format, limits, default, who may write.

Limits and defaults are those of the pages group-, node- and cluster-common-properties. Where a page gives a name
instead of a number, or nothing, the table's own comment says what stands here. Times are in the unit of the page.
"""
