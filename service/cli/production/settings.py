"""Items of the production checklist that look at the service's settings, its files, and its database."""

from __future__ import annotations

from pathlib import Path

from service.cli.production.facts import (
    OTHERS,
    OTHERS_WRITE,
    Facts,
    Outcome,
    failed,
    is_open,
    not_applicable,
    passed,
    warned,
)


def transport(facts: Facts) -> Outcome:
    """Tokens cannot be read on their way."""
    listening = facts.settings.listening
    if listening.tls_certificate_file is not None:
        mutual = ", and callers show certificates" if listening.tls_client_ca_file is not None else ""
        return passed(f"TLS on {listening.listen_address}{mutual}")
    if listening.is_local:
        return passed(f"only this machine reaches {listening.listen_address}")
    return failed(
        f"{listening.listen_address} is open to others without TLS",
        "set PODIUM_TLS_CERTIFICATE_FILE and PODIUM_TLS_KEY_FILE",
    )


def token_keys(facts: Facts) -> Outcome:
    """Whoever checks tokens cannot make them."""
    tokens = facts.settings.tokens
    if tokens.token_jwks_url:
        return passed("the keys that an issuer publishes check tokens")
    if tokens.token_public_keys:
        algorithms = sorted({key.algorithm for key in tokens.token_public_keys})
        return passed(f"public keys of others alone check tokens: {', '.join(algorithms)}")
    return warned(
        "tokens are signed with the service's own key (HS256): whoever reads it can be anybody",
        "let an issuer sign them, and set PODIUM_TOKEN_JWKS_URL or PODIUM_TOKEN_PUBLIC_KEYS",
    )


def session_age(facts: Facts) -> Outcome:
    """A stolen session ends, however often its tokens are renewed."""
    age_s = facts.settings.tokens.session_max_age_s
    if age_s:
        return passed(f"sessions end {age_s} s after they began")
    return warned("a session lasts as long as its tokens are renewed", "set PODIUM_SESSION_MAX_AGE_S")


def key_files(facts: Facts) -> Outcome:
    """Keys can be read by the service's user alone."""
    settings = facts.settings
    paths = [settings.master_key_file, settings.checkpoint_key_file]
    if settings.tokens.made_here:
        paths.append(settings.key_file)
    if settings.telemetry.metrics_token_file is not None:
        paths.append(settings.telemetry.metrics_token_file)
    wrong = [str(path) for path in paths if is_open(path, OTHERS)]
    # Who may write into a folder may put another key in the place of one that cannot be read.
    folders = {settings.storage.state_directory, *(path.parent for path in paths)}
    wrong += sorted(str(folder) for folder in folders if is_open(folder, OTHERS_WRITE))
    if wrong:
        return failed(f"open to others: {', '.join(wrong)}", "chmod 0600 the keys and 0700 their folders")
    return passed(f"{len(paths)} keys in files of their own")


def secret_files(facts: Facts) -> Outcome:
    """What tools are given beside their arguments is in a folder of the service's own."""
    folder = facts.settings.secrets.secrets_directory
    if folder is None:
        return not_applicable("no tool is given a secret: PODIUM_SECRETS_DIRECTORY is not set")
    if is_open(folder, OTHERS):
        return failed(f"{folder} is open to others", "chmod 0700 the folder, and 0600 what is in it")
    return passed(f"{folder} is open to its owner alone")


def master_key(facts: Facts) -> Outcome:
    """A copy of the database and its folder does not open what is sealed."""
    settings = facts.settings
    if _is_within(settings.master_key_file, settings.storage.state_directory):
        return failed(
            f"{settings.master_key_file} lies in the state directory, and goes into its backups",
            "keep it elsewhere, with backups of its own, and set PODIUM_MASTER_KEY_FILE",
        )
    return passed(f"{settings.master_key_file} lies apart from the state directory")


def checkpoints(facts: Facts) -> Outcome:
    """Whoever can change the database cannot change what vouches for it."""
    settings = facts.settings
    copied_to = settings.checkpoints.checkpoint_file
    if settings.checkpoints.checkpoint_command:
        return passed("a command takes each checkpoint")
    if copied_to is None:
        return failed(
            "checkpoints are in the database alone", "set PODIUM_CHECKPOINT_COMMAND or PODIUM_CHECKPOINT_FILE"
        )
    if _is_within(copied_to, settings.storage.state_directory):
        return warned(f"{copied_to} lies beside the database", "copy them to where the database's owner cannot write")
    return passed(f"checkpoints are appended to {copied_to}")


def database(facts: Facts) -> Outcome:
    """The database survives the machine."""
    server = facts.database["server"]
    if server.startswith("Postgres"):
        return passed(f"{server} at {facts.database['address']}")
    return warned(
        f"{server}: the log is one file on this machine",
        "Postgres can be replicated; or replicate the file, and try to restore it",
    )


def rights(facts: Facts) -> Outcome:
    """The service can add to the log, and change nothing in it."""
    may = facts.database["may_change_events"]
    if may is None:
        return not_applicable("SQLite has no roles; triggers refuse changes")
    if may:
        return failed(
            "the role that the service connects as may change or remove events, or owns their table",
            "connect as another role: `podium database grants ROLE` prints what it needs",
        )
    return passed("the role that the service connects as may add events, and not change them")


def tenants(facts: Facts) -> Outcome:
    """A token for a tenant that nobody made is refused."""
    if facts.settings.access.tenants_must_exist:
        return passed(f"tenants are made before tokens for them count; there are {len(facts.tenants)}")
    return warned("any token's tenant comes into being by itself", "set PODIUM_TENANTS_MUST_EXIST=true")


def operator_tenant(facts: Facts) -> Outcome:
    """Who may see and change what all tenants share works in a tenant of its own."""
    name = facts.settings.access.operator_tenant
    if name == "default":
        return warned(
            "the operator's tenant is default, for which a token is made when none is named", "set another name"
        )
    return passed(f"the operator's tenant is {name}")


def proxies(facts: Facts) -> Outcome:
    """Nobody can say to come from an address that is not theirs."""
    proxies = facts.settings.access.trusted_proxies
    if not proxies:
        return not_applicable("no proxy is trusted: an address is that of the connection")
    wide = [str(network) for network in proxies if network.prefixlen == 0]
    if wide:
        return failed("everybody is trusted as a proxy", "name the proxies' own networks in PODIUM_TRUSTED_PROXIES")
    return passed(f"trusted to name callers' addresses: {', '.join(map(str, proxies))}")


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())
