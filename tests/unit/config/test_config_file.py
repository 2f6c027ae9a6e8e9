"""Settings in a file: each of them, what wins, and what a mistake in it is told like."""

import json
import re
import tomllib
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import get_type_hints

import pytest

from service.cli import main
from service.cli.service_settings import settings_with
from service.config import ConfigurationError, Settings, find_settings, load_settings
from service.settings.example import descriptions, example_file, shown
from service.settings.reading import Option, Origin, all_settings
from service.settings.storage import Storage
from service.settings.tokens import PublicKeyFile

SETTINGS = all_settings(Settings)


@pytest.fixture
def written(tmp_path):
    """Writes a file of settings."""

    def write(text):
        path = tmp_path / "podium.toml"
        path.write_text(text)
        return path

    return write


def problems(file, **environment):
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environment, file)
    return [problem.replace(f"{file.parent}/", "") for problem in refused.value.problems]


def run(capsys, *words):
    with pytest.raises(SystemExit) as exited:
        main.run(words)
    said = capsys.readouterr()
    return exited.value.code, said.out, said.err


def test_every_kind_of_setting_is_read_from_a_file(written):
    file = written("""
        retry.multiplier = 3
        [listening]
        allow_insecure_listen = true
        [storage]
        state_directory = "/var/lib/podium"
        [tokens]
        token_public_keys = ["idp=ES256:/keys/idp.pem"]
        token_issuer = ["a", "b"]
        token_key_file = ""
        [access]
        trusted_proxies = ["10.0.0.0/8"]
        [limits]
        payload_bytes = 1_048_576
    """)
    settings = load_settings({}, file)
    assert settings.retry.multiplier == 3.0
    assert isinstance(settings.retry.multiplier, float)
    assert settings.listening.allow_insecure_listen
    assert settings.storage.state_directory == Path("/var/lib/podium")
    assert settings.tokens.token_public_keys == (PublicKeyFile("idp", "ES256", Path("/keys/idp.pem")),)
    assert settings.tokens.token_issuer == ("a", "b")
    assert settings.tokens.token_key_file is None, "what is empty is not set"
    assert settings.access.trusted_proxies == (ip_network("10.0.0.0/8"),)
    assert settings.limits.payload_bytes == 1 << 20


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(written):
    file = written("[timings]\ndrain_ms = 1\npark_after_ms = 2\n")
    settings, sources = find_settings({"PODIUM_DRAIN_MS": "3", "PODIUM_CONFIG": str(file)})
    assert (settings.timings.drain_ms, settings.timings.park_after_ms) == (3, 2)
    assert settings.timings.cancel_grace_ms == Settings().timings.cancel_grace_ms
    assert sources["timings.drain_ms"] == (Origin.ENVIRONMENT, "PODIUM_DRAIN_MS")
    assert sources["timings.park_after_ms"] == (Origin.FILE, f"{file}, line 3")
    assert "timings.cancel_grace_ms" not in sources


def test_a_file_that_is_named_stands_in_place_of_the_one_of_the_environment(written):
    file = written("[timings]\ndrain_ms = 1\n")
    assert load_settings({"PODIUM_CONFIG": "/nowhere"}, file).timings.drain_ms == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[limits]\njson_dept = 3", "podium.toml, line 2: limits.json_dept is no setting: limits.json_depth is"),
        ("[storage]\ndrain_ms = 3", "podium.toml, line 2: storage.drain_ms is no setting: timings.drain_ms is"),
        ("[timings]\nPODIUM_DRAIN_MS = 3", "line 2: timings.PODIUM_DRAIN_MS is no setting: timings.drain_ms is"),
        ("[timings]\nweather = 3", "line 2: timings.weather is no setting: `podium config init` writes all"),
        ("\n[limit]\njson_depth = 3", "podium.toml, line 2: [limit] is no section: [limits] is"),
        ("[weather]", "podium.toml, line 1: [weather] is no section: there are access, "),
        ("drain_ms = 3", "podium.toml, line 1: drain_ms stands in no section: it belongs under [timings]"),
        ("[limits]\n\njson_depth = '3'", "podium.toml, line 3: limits.json_depth is '3', not a whole number without"),
        ("[limits]\njson_depth = 3.0", "line 2: limits.json_depth is 3.0, not a whole number without quotes"),
        ("[limits]\njson_depth = true", "line 2: limits.json_depth is True, not a whole number without quotes"),
        ("[retry]\njitter = 'x'", "line 2: retry.jitter is 'x', not a number without quotes"),
        ("[tokens]\ntoken_issuer = 'a'", "line 2: tokens.token_issuer is 'a', not a list of texts such as"),
        ("[access]\ntrusted_proxies = ['x']", "line 2: access.trusted_proxies has 'x', which is no address"),
        ("[storage]\nstate_directory = 3", "line 2: storage.state_directory is 3, not text in quotes"),
        ("[sealing]\nseal_everything = 'yes'", "line 2: sealing.seal_everything is 'yes', neither true nor false"),
        ("limits.json_depth = 201", "podium.toml, line 1: limits.json_depth must be at most 200"),
        ("[timings]\ndrain_ms = 0", "podium.toml, line 2: timings.drain_ms must be at least 1"),
        ("[timings]\ndrain_ms = \n", "podium.toml is not TOML: Invalid value (at line 2, column 12)"),
        ("[timings]\ndrain_ms = 1\ndrain_ms = 2\n", "podium.toml is not TOML: Cannot overwrite a value (at line 3"),
    ],
)
def test_a_mistake_is_told_with_its_file_its_line_its_name_and_the_remedy(written, text, problem):
    [told] = problems(written(text))
    assert problem in told


def test_the_line_is_that_of_the_setting_and_not_of_a_text_that_looks_like_it(written):
    text = (
        '[checkpoints]\nlog_origin = """\n[timings]\ndrain_ms = 0\n"""\n[timings]\n# drain_ms = 1\n  drain_ms = "x"\n'
    )
    assert any(told.startswith("podium.toml, line 8: timings.drain_ms") for told in problems(written(text)))


def test_a_problem_that_the_environment_made_is_not_told_of_the_file(written):
    [told] = problems(written("[timings]\ndrain_ms = 5"), PODIUM_DRAIN_MS="0")
    assert told.startswith("PODIUM_DRAIN_MS ")


def test_everything_that_is_wrong_with_a_file_is_told_at_once(written):
    assert len(problems(written("[limits]\na = 1\njson_depth = 'x'\n[b]\n"), PODIUM_RETRY_JITTER="y")) == 4


def test_what_is_out_of_range_is_told_with_what_is_unknown_and_what_is_of_the_wrong_type(written):
    told = problems(
        written("[limits]\njson_dept = 1\npayload_bytes = -1\njson_depth = 'x'\n[lmits]\n[retry]\nmax_attempts = 0\n"),
        PODIUM_CANCEL_GRACE_MS="0",
        PODIUM_DRAIN_MS="soon",
    )
    assert told == [
        "podium.toml, line 2: limits.json_dept is no setting: limits.json_depth is",
        "podium.toml, line 5: [lmits] is no section: [limits] is",
        "podium.toml, line 4: limits.json_depth is 'x', not a whole number without quotes",
        "PODIUM_DRAIN_MS is 'soon', not a number",
        "podium.toml, line 3: limits.payload_bytes must be at least 1",
        "PODIUM_CANCEL_GRACE_MS must be at least 1",
        "podium.toml, line 3: limits.inline_bytes must not be more than limits.payload_bytes",
        "podium.toml, line 3: limits.chunk_bytes must not be more than limits.payload_bytes",
        "podium.toml, line 7: retry.max_attempts must be at least 1",
    ]


def test_in_a_problem_of_both_each_setting_is_called_as_where_it_was_set(written):
    [told] = problems(written("[timings]\nheartbeat_interval_ms = 300\n"), PODIUM_RECONNECT_GRACE_MS="200")
    assert told == "podium.toml, line 2: timings.heartbeat_interval_ms must be less than PODIUM_RECONNECT_GRACE_MS"


def test_a_default_that_stands_in_for_what_cannot_be_read_is_not_at_fault(written):
    told = problems(written("[timings]\nreconnect_grace_ms = 300\nheartbeat_interval_ms = '200'\n"))
    assert told == ["podium.toml, line 3: timings.heartbeat_interval_ms is '200', not a whole number without quotes"]
    # Negative control: a default that somebody left as it is is held against what was set.
    [told] = problems(written("[timings]\nreconnect_grace_ms = 300\n"))
    assert told.startswith("podium.toml, line 2: timings.heartbeat_interval_ms must be less than")


def test_a_database_is_an_address_or_a_path_in_a_file_and_in_the_environment(written):
    file = written('[storage]\ndatabase_url = "data/podium.db"\n')
    assert load_settings({}, file).storage.database_url == "sqlite:///data/podium.db"
    for path in ("/var/lib/podium.db", "podium.db", "./a:b.db"):
        assert load_settings({"PODIUM_DATABASE_URL": path}).storage.database_url == f"sqlite:///{path}"
    [told] = problems(file, PODIUM_DATABASE_URL="mysql://bob:hunter2@db/podium")
    assert told.startswith("PODIUM_DATABASE_URL begins with neither sqlite:/// nor postgresql://: ")
    [told] = problems(file, PODIUM_DATABASE_URL="db:5432/podium")
    assert "written ./ and the path" in told


def test_options_of_a_command_win_and_are_told_with_all_that_is_wrong(written, monkeypatch):
    monkeypatch.setenv("PODIUM_DATABASE_URL", "environment.db")
    file = written('[listening]\nlisten_address = "0.0.0.0:1"\n[storage]\ndatabase_url = "file.db"\n')
    found = settings_with(listen="127.0.0.1:7000", database="option.db", state_directory=Path("keys"), config=file)
    assert found.listening.listen_address == "127.0.0.1:7000"
    assert found.storage == Storage("sqlite:///option.db", Path("keys"))
    assert settings_with(listen="127.0.0.1:7000", config=file).storage.database_url == "sqlite:///environment.db"
    with pytest.raises(ConfigurationError) as refused:
        settings_with(listen="7000", database="mysql://db", config=written("[timings]\ndrain_ms = 0\n"))
    address, database, drain = refused.value.problems
    assert address.startswith("--listen is '7000'")
    assert database.startswith("--database begins with neither")
    assert drain.endswith("line 2: timings.drain_ms must be at least 1")


@pytest.mark.parametrize(
    "database",
    [
        "mysql://bob:hunter2@db",
        "host=db password=hunter2",
        "postgresql://bob:hunter2@db:hunter2/x",
        "postgresql://[hunter2",
    ],
)
def test_an_option_is_told_by_its_own_name_and_never_with_a_secret(written, monkeypatch, database):
    monkeypatch.setenv("PODIUM_DATABASE_URL", "environment.db")
    file = written('[storage]\ndatabase_url = "file.db"\n')
    with pytest.raises(ConfigurationError) as refused:
        settings_with(database=database, config=file)
    [(name, what)] = refused.value.violations
    assert name == "--database"
    assert "hunter2" not in what
    assert "PODIUM_" not in what
    assert str(file) not in what
    # Negative control: what the command line took from the variable is told with the variable's name.
    monkeypatch.setenv("PODIUM_DATABASE_URL", database)
    with pytest.raises(ConfigurationError) as refused:
        settings_with(database=database, config=file)
    assert [name for name, _ in refused.value.violations] == ["PODIUM_DATABASE_URL"]


def test_in_a_problem_of_an_option_and_a_file_each_setting_is_called_as_where_it_was_set(written, monkeypatch):
    file = written("[listening]\nallow_insecure_listen = false\ntls_key_file = 'key'\n")
    with pytest.raises(ConfigurationError) as refused:
        settings_with(listen="0.0.0.0:1", config=file)
    pair, address = refused.value.problems
    assert pair.endswith("line 3: listening.tls_certificate_file and listening.tls_key_file need each other")
    assert "--listen is 0.0.0.0:1, which others can reach" in address
    with pytest.raises(ConfigurationError) as refused:
        settings_with(listen="0.0.0.0:1")
    [address] = refused.value.problems
    assert address.startswith("--listen is 0.0.0.0:1, which others can reach")
    assert "set PODIUM_TLS_CERTIFICATE_FILE and PODIUM_TLS_KEY_FILE" in address


def test_an_option_that_is_empty_says_nothing(written, monkeypatch):
    file = written('[storage]\ndatabase_url = "file.db"\n')
    assert settings_with(database="", config=file).storage.database_url == "sqlite:///file.db"
    monkeypatch.setenv("PODIUM_DATABASE_URL", "environment.db")
    assert settings_with(database="", config=file).storage.database_url == "sqlite:///environment.db"


def test_an_option_is_where_a_setting_comes_from():
    _, sources = find_settings({}, options={"PODIUM_STATE_DIRECTORY": Option("--state-dir", "keys")})
    assert sources["storage.state_directory"] == (Origin.OPTION, "--state-dir")


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    assert problems(tmp_path / "no.toml") == ["no.toml cannot be read: No such file or directory"]
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    assert problems(tmp_path / "bytes.toml") == ["bytes.toml is not UTF-8: byte 0 is not"]


def test_a_secret_of_the_wrong_kind_is_not_repeated(written):
    [told] = problems(written('[storage]\ndatabase_url = ["postgresql://bob:hunter2@db/podium"]'))
    assert "storage.database_url is not of its kind" in told
    assert "hunter2" not in told


def test_the_example_holds_every_setting_with_its_description_and_its_default(written):
    text = example_file()
    tables = tomllib.loads(text)
    assert all(table == {} for table in tables.values()), "it is commented out"
    set_all = re.sub(r"(?m)^# (\w+ = )", r"\1", text)
    assert {f"{section}.{name}" for section, table in tomllib.loads(set_all).items() for name in table} == {
        setting.key for setting in SETTINGS
    }
    assert load_settings({}, written(set_all)) == Settings()
    assert all(f"# In the environment {setting.variable}." in text for setting in SETTINGS)


def test_a_setting_that_the_example_leaves_out_would_be_missed():
    """Negative control: with one line fewer, the comparison above does not hold."""
    text = re.sub(r"(?m)^# (\w+ = )", r"\1", example_file()).replace("drain_ms = ", "# drain_ms = ")
    assert "drain_ms" not in tomllib.loads(text)["timings"]


def test_every_setting_has_a_description():
    for section, kind in get_type_hints(Settings).items():
        missing = {each.name for each in fields(kind)} - descriptions(kind).keys()
        assert not missing, f"{section} does not say what these do"


def test_names_in_the_environment_are_unambiguous():
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///podium.db", "sqlite:///podium.db"),
        ("postgresql://bob:hunter2@db:5432/podium", "postgresql://bob@db:5432/podium"),
        ("postgresql://db/podium?password=hunter2", "postgresql://db/podium?(hidden)"),
        ("hunter2", "(hidden)"),
        ("postgresql://[hunter2", "(hidden)"),
        ("postgresql://hunter2@db/podium", "postgresql://(hidden)@db/podium"),
        ("postgresql://bob:12/hunter2@db/podium", "(hidden)"),
        ("HTTP://hunter2:hunter2@db/v1#hunter2", "(hidden)"),
        ("http://hunter2:@db:4318/v1?k=hunter2#hunter2", "http://(hidden)@db:4318/v1?(hidden)"),
        ("redis://:hunter2@db/0", "redis://@db/0"),
        ("push:hunter2", "(hidden)"),
        ("", ""),
    ],
)
def test_of_a_secret_only_where_it_leads_is_shown(url, told):
    [setting] = [each for each in SETTINGS if each.key == "storage.database_url"]
    assert setting.is_secret
    assert shown(setting, url) == told


def test_of_a_list_of_secrets_nothing_is_shown():
    [headers] = [each for each in SETTINGS if each.key == "telemetry.otlp_headers"]
    assert headers.is_secret
    assert shown(headers, ("authorization=hunter2",)) == "(hidden)"
    assert shown(headers, ()) == []


CANNOT_BE_SECRET = {
    "listening.listen_address",
    "tokens.token_issuer",
    "tokens.token_audience",
    "tokens.token_roles_claim",
    "tokens.token_claims",
    "access.operator_tenant",
    "checkpoints.log_origin",
    "telemetry.metrics_address",
    "telemetry.otlp_service_name",
    "telemetry.log_format",
}
"""Settings that are text and hold nothing that nobody should read. A new one is put here, or has repr=False."""
CREDENTIALS = {
    "storage.database_url": "postgresql://bob:hunter2@db/podium?password=hunter2",
    "tokens.token_jwks_url": "https://keys/jwks.json?key=hunter2",
    "checkpoints.checkpoint_command": "curl -H 'Authorization: hunter2' https://witness",
    "telemetry.otlp_endpoint": "http://hunter2:hunter2@127.0.0.1:4318",
    "telemetry.otlp_headers": ["authorization=hunter2", "x=hunter2"],
    "cache.url": "redis://bob:hunter2@localhost/0",
}


def test_every_setting_that_may_hold_a_credential_is_known_to():
    texts = {setting.key for setting in SETTINGS if setting.kind in (str, str | None, tuple[str, ...])}
    assert {setting.key for setting in SETTINGS if setting.is_secret} == set(CREDENTIALS)
    assert texts == CANNOT_BE_SECRET | set(CREDENTIALS)


@pytest.mark.parametrize("command", ["check", "show"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_command_prints_a_credential(written, capsys, command, options):
    tables = [[*key.split("."), value] for key, value in CREDENTIALS.items()]
    file = written("".join(f"{section}.{name} = {json.dumps(value)}\n" for section, name, value in tables))
    settings, _ = find_settings({}, file)
    assert "hunter2" not in repr(settings)
    code, out, err = run(capsys, "config", command, str(file), *options)
    assert code == 0, err
    assert "hunter2" not in out + err
    assert out.count("(hidden)") >= len(CREDENTIALS) - 1, "the cache is told without its password"
    assert "redis://bob@localhost/0" in out


@pytest.mark.parametrize("key", sorted(CREDENTIALS))
def test_a_setting_that_is_not_marked_would_be_printed(key):
    """Negative control: it is the mark that hides a value."""
    [setting] = [each for each in SETTINGS if each.key == key]
    assert "hunter2" in str(shown(setting._replace(is_secret=False), CREDENTIALS[key]))


def test_check_tells_what_is_set_and_where(written, capsys, monkeypatch):
    monkeypatch.setenv("PODIUM_DATABASE_URL", "postgresql://bob:hunter2@db/podium")
    file = written("[timings]\ndrain_ms = 5_000\n")
    code, out, err = run(capsys, "config", "check", str(file))
    assert code == 0
    assert re.search(r"timings\.drain_ms +5000 .*podium\.toml, line 2", out)
    assert re.search(r"storage\.database_url +postgresql://bob@db/podium +PODIUM_DATABASE_URL", out)
    assert "hunter2" not in out
    assert f"2 of {len(SETTINGS)} are set" in err
    code, out, _ = run(capsys, "config", "check", str(file), "--json")
    told = json.loads(out)
    assert told["valid"]
    assert len(told["settings"]) == len(SETTINGS)
    assert next(each for each in told["settings"] if each["setting"] == "timings.drain_ms") == {
        "setting": "timings.drain_ms",
        "section": "timings",
        "variable": "PODIUM_DRAIN_MS",
        "value": 5000,
        "from": "file",
        "place": f"{file}, line 2",
    }


def test_check_fails_with_all_that_is_wrong(written, capsys, monkeypatch):
    monkeypatch.setenv("PODIUM_CONFIG", str(written("[timings]\ndrain_ms = 0\npark_after_ms = 0\n")))
    code, out, err = run(capsys, "config", "check")
    assert (code, out) == (2, "")
    assert err.count("must be at least 1") == 2
    code, out, err = run(capsys, "config", "check", "--json")
    assert (code, out) == (2, "")
    assert len(json.loads(err)["error"]["violations"]) == 2


def test_each_problem_is_told_on_its_line_and_to_programs_with_its_setting(written, capsys):
    file = written("[tokens]\n[retry]\nmax_attempts = 'abc'\n[lmits]\n")
    # Its name has a space and what looks like a setting.
    file = file.rename(file.parent / "retry.jitter my.toml")
    code, out, err = run(capsys, "config", "check", str(file))
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "error: the settings are not in order (INVALID_SETTINGS)",
        f"  [lmits] is no section: [limits] is ({file}, line 4)",
        f"  retry.max_attempts is 'abc', not a whole number without quotes ({file}, line 3)",
    ]
    for command in ("check", "show"):
        told = json.loads(run(capsys, "config", command, str(file), "--json")[2])["error"]
        assert told["reason"] == "INVALID_SETTINGS"
        assert [each["field"] for each in told["violations"]] == ["[lmits]", "retry.max_attempts"]
        assert told["violations"][0]["description"] == f"is no section: [limits] is ({file}, line 4)"


def test_a_problem_that_is_found_later_has_its_setting_too(written, capsys):
    file = written("[timings]\ndrain_ms = 0\n")
    told = json.loads(run(capsys, "config", "check", str(file), "--json")[2])["error"]
    assert told["violations"] == [{"field": "timings.drain_ms", "description": f"must be at least 1 ({file}, line 2)"}]


def test_a_problem_of_a_whole_file_is_that_of_no_setting(tmp_path, capsys):
    file = tmp_path / "none.toml"
    _, _, err = run(capsys, "config", "check", str(file), "--json")
    description = f"{file} cannot be read: No such file or directory"
    assert json.loads(err)["error"]["violations"] == [{"field": "", "description": description}]
    assert run(capsys, "config", "check", str(file))[2].splitlines()[1:] == [f"  {description}"]


def test_show_has_every_setting_and_init_writes_a_file_that_is_in_order(tmp_path, capsys):
    code, out, _ = run(capsys, "config", "show", "--json")
    assert code == 0
    assert [row["setting"] for row in json.loads(out)] == [setting.key for setting in SETTINGS]
    file = tmp_path / "new.toml"
    assert run(capsys, "config", "init", str(file))[0] == 0
    assert file.read_text() == example_file()
    assert file.stat().st_mode & 0o077 == 0, "a password may come to stand in it"
    assert run(capsys, "config", "check", str(file))[0] == 0
    file.write_text("mine")
    code, _, err = run(capsys, "config", "init", str(file))
    assert code == 2
    assert "there is a file" in err
    assert file.read_text() == "mine"
