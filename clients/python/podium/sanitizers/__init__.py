"""What may be in an argument: one sanitizer a module, found by its kind through `podium.sanitizers.registry`.

A check is pure: the same value gets the same answer anywhere, in the service and in a process of one's own. What only
the place of use can see (symbolic links, a resolver's answers) is enforced there, by `beneath` and `pinned_client`.
"""
