"""Addresses of the web: one reading each, public hosts alone, and nothing that another parser sees differently."""

import ipaddress
import socket
from urllib.parse import urlsplit

import pytest

from podium.sanitizers import Rejected, SpecificationRefused, compile_sanitizer
from podium.sanitizers.addresses import is_public

ATTACKS = {
    "http://127.0.0.1/": "ADDRESS_NOT_PUBLIC",
    "http://169.254.169.254/latest/meta-data/": "ADDRESS_NOT_PUBLIC",
    "http://168.63.129.16/machine": "ADDRESS_NOT_PUBLIC",
    "http://[::1]/": "ADDRESS_NOT_PUBLIC",
    "http://[::]:80/": "ADDRESS_NOT_PUBLIC",
    "http://[::ffff:127.0.0.1]/": "ADDRESS_NOT_PUBLIC",
    "http://[::ffff:7f00:1]/": "ADDRESS_NOT_PUBLIC",
    "http://[0:0:0:0:0:ffff:127.0.0.1]/": "ADDRESS_NOT_PUBLIC",
    "http://[::127.0.0.1]/": "ADDRESS_NOT_PUBLIC",
    "http://[64:ff9b::7f00:1]/": "ADDRESS_NOT_PUBLIC",
    "http://[64:ff9b:1::1]/": "ADDRESS_NOT_PUBLIC",
    "http://[2002:7f00:1::]/": "ADDRESS_NOT_PUBLIC",
    "http://[2001:0:53aa:64c:0:fbff:80ff:fffe]/": "ADDRESS_NOT_PUBLIC",
    "http://[fd00:ec2::254]/": "ADDRESS_NOT_PUBLIC",
    "http://[fe80::1]/": "ADDRESS_NOT_PUBLIC",
    "http://[fe80::1%25eth0]/": "URL_MALFORMED",
    "http://2130706433/": "ADDRESS_ODD",
    "http://017700000001/": "ADDRESS_ODD",
    "http://0x7f000001/": "ADDRESS_ODD",
    "http://0x7f.0x0.0x0.0x1/": "ADDRESS_ODD",
    "http://0177.0.0.1/": "ADDRESS_ODD",
    "http://127.1/": "ADDRESS_ODD",
    "http://0o177.0.0.1/": "ADDRESS_ODD",
    "http://q177.0.0.1/": "ADDRESS_ODD",
    "http://0000::1:80/": "URL_MALFORMED",
    "http://make-1.2.3.4-rebind-169.254-169.254-rr.1u.ms/": "URL_HOST",
    "0://evil.example:80;http://example.org:80/": "URL_MALFORMED",
    "http://127.0.0.1./": "ADDRESS_ODD",
    "http://0/": "ADDRESS_ODD",
    "http://425.510.425.510/": "ADDRESS_ODD",
    "http://①②⑦.⓪.⓪.①/": "URL_HOST",
    "http://\uff11\uff12\uff17.0.0.1/": "ADDRESS_ODD",
    "http://127。0。0。1/": "URL_HOST",
    "http://localhost/": "URL_HOST",
    "http://LOCALHOST./": "URL_HOST",
    "http://x.localhost/": "URL_HOST",
    "http://metadata.google.internal/": "URL_HOST",
    "http://metadata/": "URL_HOST",
    "http://127.0.0.1.nip.io/": "URL_HOST",
    "http://localtest.me/": "URL_HOST",
    "http://user@example.org/": "URL_USERINFO",
    "http://example.org:80@127.0.0.1/": "URL_USERINFO",
    "http://127.0.0.1\\@example.org/": "URL_MALFORMED",
    "http://example.org\\.evil.example/": "URL_MALFORMED",
    "http://example.org&@127.0.0.1#@x/": "URL_USERINFO",
    "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/": "URL_MALFORMED",
    "http://127.0.0.1%00.example.org/": "CONTROL_CHARACTER",
    "http://%31%32%37.0.0.1/": "URL_MALFORMED",
    "http://example.org:22/": "URL_PORT",
    "http://example.org:080/": "URL_MALFORMED",
    "http://example.org:/": "URL_MALFORMED",
    "http://example.org:80:22/": "URL_MALFORMED",
    "http://example.org/%0d%0aX-Injected:1": "CONTROL_CHARACTER",
    "http://example.org/\r\nX: 1": "URL_MALFORMED",
    "http://exa\tmple.org/": "URL_MALFORMED",
    "http://exam\u200bple.org/": "URL_MALFORMED",
    "http:///example.org/": "URL_MALFORMED",
    "http:example.org": "URL_MALFORMED",
    "//example.org/": "URL_MALFORMED",
    "file:///etc/passwd": "URL_SCHEME",
    "gopher://example.org:70/_x": "URL_SCHEME",
    "javascript:alert(1)": "URL_MALFORMED",
    "jar:http://example.org!/": "URL_MALFORMED",
    "http://xn--a.org/": "URL_HOST",
    "http://-example.org/": "URL_MALFORMED",
    "http://a..org/": "URL_MALFORMED",
    "http://": "URL_MALFORMED",
}
HARMLESS = [
    "https://example.org",
    "http://example.org:80/a/b.html?c=d&e=%20f#g",
    "HTTPS://Docs.Example.ORG/A_(b)",
    "https://example.org./",
    "https://xn--bcher-kva.example/",
    "https://bücher.example/straße?q=日本",
    "https://8.8.8.8/",
    "https://[2606:4700:4700::1111]:443/x",
    "https://example.org/redirect?to=http://127.0.0.1/",
    "https://example.org/@user/10.0.0.1",
    "https://1password.example/",
    "https://internal.example.org/",
    "https://a_b.example.org/{id}|x",
]


@pytest.fixture(scope="module")
def url():
    return compile_sanitizer("url", {"schemes": ["http", "https"]})


def refusal(sanitizer, value):
    try:
        sanitizer.check(value)
    except Rejected as rejected:
        return rejected.reason
    return None


def test_each_attack_is_refused_with_its_reason(url):
    assert {attack: refusal(url, attack) for attack in ATTACKS} == ATTACKS


def test_what_only_looks_like_an_attack_is_let_through_unchanged(url):
    assert [url.check(each) for each in HARMLESS] == HARMLESS


class Naive:
    """Parses with the standard library and asks it whether the address is private."""

    def check(self, value):
        try:
            host = urlsplit(value).hostname or ""
            private = ipaddress.ip_address(host).is_private
        except ValueError:
            private = False
        if private or not value.startswith("http"):
            raise Rejected("url", "ADDRESS_NOT_PUBLIC", "is private")
        return value


def test_a_naive_check_lets_many_of_the_attacks_through():
    assert sum(refusal(Naive(), attack) is None for attack in ATTACKS) > len(ATTACKS) / 2


def test_the_spellings_that_are_refused_do_reach_this_machine():
    for spelling in ("2130706433", "0x7f.1", "0177.0.0.1", "127.1"):
        assert socket.inet_ntoa(socket.inet_aton(spelling)) == "127.0.0.1"


def test_https_alone_is_allowed_unless_more_is_declared():
    assert refusal(compile_sanitizer("url", {}), "http://example.org/") == "URL_SCHEME"


def test_hosts_are_exact_or_all_below_a_name():
    url = compile_sanitizer("url", {"hosts": ["api.example.org", "*.Example.com", "8.8.8.8"]})
    for allowed in (
        "https://api.example.org/",
        "https://API.example.org./",
        "https://a.b.example.com/",
        "https://8.8.8.8",
    ):
        assert url.check(allowed) == allowed
    for other in ("https://example.com", "https://xexample.com", "https://x.api.example.org", "https://8.8.4.4"):
        assert refusal(url, other) == "URL_HOST"


def test_a_listed_host_may_have_a_local_name_but_no_private_address():
    url = compile_sanitizer("url", {"hosts": ["warehouse", "10.0.0.1"]})
    assert url.check("https://warehouse/") == "https://warehouse/"
    assert refusal(url, "https://10.0.0.1/") == "ADDRESS_NOT_PUBLIC"


def test_a_network_that_is_declared_may_be_reached_in_every_wrapping():
    url = compile_sanitizer("url", {"networks": ["10.1.0.0/16", "fd00::/8"], "ports": [8443]})
    for allowed in ("https://10.1.2.3:8443/", "https://[::ffff:10.1.2.3]/", "https://[fd00::1]/"):
        assert url.check(allowed) == allowed
    assert refusal(url, "https://10.2.0.1/") == "ADDRESS_NOT_PUBLIC"


def test_the_parts_are_what_a_client_connects_to(url):
    target = url.target("http://Bücher.example./a b".replace(" ", "+") + "?ü=1#top")
    assert (target.scheme, target.host, target.port, target.path) == (
        "http",
        "xn--bcher-kva.example",
        80,
        "/a+b?%C3%BC=1",
    )
    assert url.target("http://[2606:4700::1]").authority == "[2606:4700::1]"
    assert url.target("https://example.org?x").path == "/?x"


# From the special-purpose registries of IANA, an address inside and one right behind it.
@pytest.mark.parametrize(
    ("inside", "behind"),
    [
        ("0.255.255.255", "1.0.0.0"),
        ("10.255.255.255", "11.0.0.0"),
        ("100.127.255.255", "100.128.0.0"),
        ("127.255.255.255", "128.0.0.0"),
        ("169.254.255.255", "169.255.0.0"),
        ("172.31.255.255", "172.32.0.0"),
        ("192.0.0.255", "192.0.1.0"),
        ("192.31.196.255", "192.31.197.0"),
        ("192.52.193.255", "192.52.194.0"),
        ("192.175.48.255", "192.175.49.0"),
        ("2620:4f:8000:ffff::", "2620:4f:8001::"),
        ("192.168.255.255", "192.169.0.0"),
        ("198.19.255.255", "198.20.0.0"),
        ("239.255.255.255", "223.255.255.255"),
        ("255.255.255.255", "223.255.255.254"),
        ("2001:1ff:ffff::", "2001:200::"),
        ("2001:db8:ffff::", "2001:db9::"),
        ("2002:ffff::1", "2003::"),
        ("3fff:0fff::", "3fff:1000::"),
        ("4000::", "3ffe::"),
        ("64:ff9b::10.0.0.1", "64:ff9b::8.8.8.8"),
        ("::ffff:10.0.0.1", "::ffff:8.8.8.8"),
        ("ff0e::1", "2a00::1"),
    ],
)
def test_the_bounds_of_what_is_public(inside, behind):
    assert not is_public(ipaddress.ip_address(inside))
    assert is_public(ipaddress.ip_address(behind))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"schemes": ["ftp"]}, "url.schemes"),
        ({"schemes": []}, "url.schemes"),
        ({"hosts": []}, "url.hosts"),
        ({"hosts": ["*"]}, "url.hosts"),
        ({"hosts": ["a.*.org"]}, "url.hosts"),
        ({"hosts": ["https://example.org"]}, "url.hosts"),
        ({"hosts": ["0x7f.1"]}, "url.hosts"),
        ({"ports": [0]}, "url.ports"),
        ({"networks": ["10.0.0.1/8"]}, "url.networks"),
        ({"host": "example.org"}, "url.host"),
    ],
)
def test_a_wrong_declaration_is_refused_and_names_the_option(options, named):
    with pytest.raises(SpecificationRefused, match=named):
        compile_sanitizer("url", options)
