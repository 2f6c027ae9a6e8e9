"""Generated addresses of this machine and of private networks, in every spelling: none is let through."""

import ipaddress
from urllib.parse import urlsplit

from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from podium.sanitizers import Rejected, compile_sanitizer
from podium.sanitizers.addresses import is_public

URL = compile_sanitizer("url", {"schemes": ["http", "https"], "ports": [8080]})
SEARCH = settings(max_examples=1_000, phases=[Phase.generate], database=None, derandomize=True)

PRIVATE = [
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32",
]  # fmt: skip
private = st.one_of(*(st.ip_addresses(network=each) for each in PRIVATE))
private_6 = st.one_of(
    *(
        st.ip_addresses(network=each)
        for each in ["::/96", "fc00::/7", "fe80::/10", "ff00::/8", "2001::/32", "2002::/16"]
    )
)


@st.composite
def number(draw, value):
    """A number as the C library reads it."""
    zeros = "0" * draw(st.integers(0, 3))
    return draw(st.sampled_from([str(value), f"0{zeros}{value:o}", f"0x{zeros}{value:x}", f"0X{value:X}"]))


@st.composite
def spellings_4(draw, addresses=private):
    """An IPv4 address in one to four parts, each in its own base, or wrapped in an IPv6 address."""
    address = draw(addresses)
    packed = int(address)
    count = draw(st.integers(1, 4))
    octets = list(address.packed)
    last = packed & ((1 << 8 * (5 - count)) - 1)
    dotted = ".".join([draw(number(each)) for each in octets[: count - 1]] + [draw(number(last))])
    high, low = f"{packed >> 16:x}", f"{packed & 0xFFFF:x}"
    wrapped = [
        f"[::ffff:{address}]", f"[::ffff:{high}:{low}]", f"[0:0:0:0:0:FFFF:{address}]", f"[::{address}]",
        f"[64:ff9b::{high}:{low}]", f"[64:ff9b::{address}]", f"[64:ff9b:1::{address}]", f"[2002:{high}:{low}::]",
        f"[::ffff:0:{high}:{low}]", f"[2001:0:{high}:{low}::]",
    ]  # fmt: skip
    named = [f"{address}.nip.io", f"{str(address).replace('.', '-')}.sslip.io", f"{address}.", f"x.{address}.xip.io"]
    return draw(st.sampled_from([dotted, str(address), *wrapped, *named]))


@st.composite
def disguises(draw):
    """A spelling with digits of other scripts, other dots, encoded, or with a zone."""
    host = draw(spellings_4() | private_6.map(lambda each: f"[{each}]") | st.just("localhost"))
    disguise = draw(st.integers(0, 6))
    if disguise == 1:
        host = host.translate({48 + n: 0xFF10 + n for n in range(10)})
    elif disguise == 2:
        host = host.replace(".", draw(st.sampled_from("\u3002\uff0e\uff61\u2024")))
    elif disguise == 3:
        host = "".join(f"%{ord(each):02x}" if each.isalnum() else each for each in host)
    elif disguise == 4:
        host = host.replace("]", "%25eth0]")
    elif disguise == 5:
        host = host.upper()
    return host


@st.composite
def attacks(draw):
    host = draw(disguises())
    before = draw(st.sampled_from(["", "", "", "example.org@", "example.org:80@", "example.org%40", "user:pw@"]))
    after = draw(st.sampled_from(["", "", ":80", ":8080", ":22", "#@example.org", "?@example.org", "\\@example.org"]))
    scheme = draw(
        st.sampled_from(["http://", "https://", "HTTP://", "http:/", "http:\\\\", "//", "http:///", " http://"])
    )
    return f"{scheme}{before}{host}{after}{draw(st.sampled_from(['', '/', '/x?y=http://example.org']))}"


def accepts(check, url):
    try:
        check(url)
    except Rejected:
        return False
    return True


@given(attacks())
@settings(max_examples=800, deadline=None)
def test_no_spelling_of_a_private_address_is_let_through(url):
    assert not accepts(URL.check, url)


def naive(url):
    try:
        if not is_public(ipaddress.ip_address(urlsplit(url).hostname or "")):
            raise Rejected("url", "ADDRESS_NOT_PUBLIC", "is not public")
    except ValueError as error:
        if isinstance(error, Rejected):
            raise


def test_the_search_finds_spellings_that_get_past_a_check_of_the_parsed_host():
    assert find(attacks(), lambda url: accepts(naive, url), settings=SEARCH)


@given(st.ip_addresses().filter(is_public))
@settings(max_examples=150, deadline=None)
def test_public_addresses_are_let_through_as_they_are_written(address):
    url = f"https://{address}/" if address.version == 4 else f"https://[{address}]/"
    assert URL.check(url) == url


labels = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True).filter(lambda label: "--" not in label)


@given(st.lists(labels, min_size=1, max_size=4), st.text("abcXYZ019-._~/:@!$&'()*+,;=|{}", max_size=30))
@settings(max_examples=150, deadline=None)
def test_names_below_public_ones_are_let_through_with_any_path(parts, path):
    url = f"https://{'.'.join(parts)}.example.org/{path}"
    assert URL.check(url) == url
