"""Who may call, who shares the service, and what became of their calls: networks, tenants, tokens, keys, the trail."""
