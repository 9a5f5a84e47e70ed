"""Tables whose headings and rows are reached by keyboard as well as by pointer."""

from typing import Any

from nicegui import ui

_HEADING = """
<q-th :props="props">
  <button v-if="props.col.sortable" type="button" class="bw-sort">{{ props.col.label }}</button>
  <template v-else>{{ props.col.label }}</template>
</q-th>
"""
_LINK = """
<q-td :props="props">
  <a :href="'PREFIX' + props.row.page" class="nicegui-link">{{ props.value }}</a>
</q-td>
"""
_DOWNLOAD = """
<q-td :props="props">
  <a v-if="props.value" :href="props.value" download class="bw-download">{{ props.col.label }}</a>
</q-td>
"""


def table(
    columns: list[dict[str, Any]],
    *,
    name: str,
    row_key: str,
    link: str = "",
    downloads: str = "",
    pagination: int | None = None,
) -> ui.table:
    """Draw an empty table.

    Parameters
    ----------
    name
        What the table holds, for those who cannot see where it stands.
    link
        Column whose text leads to the row's ``page``, a path of the dashboard.
    downloads
        Column whose values are addresses of this server that are downloaded from.
    pagination
        Rows at a time; all where it is None.
    """
    drawn = ui.table(columns=columns, rows=[], row_key=row_key, pagination=pagination)
    drawn.classes("w-full").props("flat dense")
    drawn.props["table-header-class"] = "text-left"
    drawn.props["aria-label"] = name
    drawn.props["role"] = "group"
    drawn.add_slot("header-cell", _HEADING)
    if downloads:
        drawn.add_slot(f"body-cell-{downloads}", _DOWNLOAD)
    if link:
        prefix = str(ui.context.client.request.scope.get("root_path", ""))
        drawn.add_slot(f"body-cell-{link}", _LINK.replace("PREFIX", prefix))
        drawn.on(
            "rowClick",
            # A click on the link itself is the browser's own business.
            js_handler="(event, row) => { if (!event.target.closest('a')) emit(row.page); }",
            handler=lambda event: ui.navigate.to(event.args),
        )
    return drawn
