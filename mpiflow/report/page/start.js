// Everything is there: put it on the page.

watchTheme();
drawHeader();
drawTabs();
watchSearch();
watchKeys();
{
  const kept = store.read(`selected ${DATA.run}`);
  show(location.hash.slice(1) || store.read(`part ${DATA.run}`) || "overview");
  if (kept)
    try {
      select(JSON.parse(kept));
    } catch {
      select(null);
    } // another run may be in this file now
  if (RUNNING && DATA.refresh) setTimeout(() => location.reload(), 1000 * DATA.refresh);
}
