//! What is odd about tar files, one thing each.

use super::blocks::{
    Block, after, base256, end, file, full, inner, link, long, pax, prefixed, signed, sized,
    special, summed_as, truncated, v7,
};

/// An archive by hand: what is odd about it, and its parts.
type Odd = (&'static str, Vec<Vec<u8>>);

/// Archives made by hand, with what is odd about them.
pub(super) fn by_hand() -> Vec<(&'static str, Vec<u8>)> {
    let all = [
        plain(),
        extended(),
        more_extended(),
        sizes(),
        names(),
        kinds(),
        ends(),
    ];
    let all = all.into_iter().flatten();
    all.map(|(name, parts)| (name, parts.concat())).collect()
}

/// What everybody writes.
fn plain() -> Vec<Odd> {
    vec![
        ("plain", vec![file("a", b"hello"), after(), end()]),
        ("v7", vec![v7(), after(), end()]),
        ("prefix", vec![prefixed(), end()]),
        ("name without end", vec![full(), end()]),
    ]
}

/// Extended headers.
fn extended() -> Vec<Odd> {
    vec![
        (
            "pax path",
            vec![pax(&[("path", &long())]), file("short", b"x"), end()],
        ),
        (
            "pax size",
            vec![pax(&[("size", "5")]), sized(b"00000000000\0"), end()],
        ),
        (
            "pax size that hides an archive",
            vec![
                pax(&[("size", &inner().len().to_string())]),
                Block::new(b"outer", b'0', 0).summed(&inner()),
                after(),
                end(),
            ],
        ),
        (
            "size that hides an archive",
            vec![
                pax(&[("size", "0")]),
                special("outer", b'0', &inner()),
                after(),
                end(),
            ],
        ),
        (
            "two pax headers",
            vec![
                pax(&[("path", "one")]),
                pax(&[("path", "two")]),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "pax header without member",
            vec![pax(&[("path", "one")]), end()],
        ),
        (
            "pax length too long",
            vec![special("x", b'x', b"99 path=a\n"), file("a", b"x"), end()],
        ),
        (
            "pax length too short",
            vec![special("x", b'x', b"5 path=abc\n"), file("a", b"x"), end()],
        ),
        (
            "pax length no number",
            vec![special("x", b'x', b"aa path=abc\n"), file("a", b"x"), end()],
        ),
        (
            "pax without newline",
            vec![special("x", b'x', b"11 path=abc"), file("a", b"x"), end()],
        ),
        (
            "pax with nothing",
            vec![special("x", b'x', b""), file("a", b"x"), end()],
        ),
    ]
}

/// More extended headers.
fn more_extended() -> Vec<Odd> {
    vec![
        (
            "pax negative size",
            vec![pax(&[("size", "-5")]), file("a", b"x"), end()],
        ),
        (
            "pax size with a sign",
            vec![pax(&[("size", "+1")]), file("a", b"x"), end()],
        ),
        (
            "pax size no number",
            vec![pax(&[("size", "five")]), file("a", b"x"), end()],
        ),
        (
            "pax empty path",
            vec![pax(&[("path", "")]), file("a", b"x"), end()],
        ),
        (
            "pax path with a zero byte",
            vec![pax(&[("path", "a\0b")]), file("c", b"x"), end()],
        ),
        (
            "pax sparse",
            vec![
                pax(&[
                    ("GNU.sparse.major", "1"),
                    ("GNU.sparse.minor", "0"),
                    ("GNU.sparse.name", "s"),
                ]),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "global pax path",
            vec![special("g", b'g', b"11 path=abc\n"), file("a", b"x"), end()],
        ),
        (
            "global pax comment",
            vec![
                special("g", b'g', b"14 comment=ab\n"),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "long name",
            vec![
                special("././@LongLink", b'L', format!("{}\0", long()).as_bytes()),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "long name and pax path",
            vec![
                special("././@LongLink", b'L', b"by-gnu\0"),
                pax(&[("path", "by-pax")]),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "pax path and long name",
            vec![
                pax(&[("path", "by-pax")]),
                special("././@LongLink", b'L', b"by-gnu\0"),
                file("a", b"x"),
                end(),
            ],
        ),
    ]
}

/// Sizes and sums.
fn sizes() -> Vec<Odd> {
    vec![
        ("base 256", vec![sized(&base256(5)), after(), end()]),
        (
            "base 256 too large",
            vec![sized(&base256(u64::MAX / 2)), after(), end()],
        ),
        (
            "base 256 negative",
            vec![sized(&[0xff; 12]), after(), end()],
        ),
        (
            "size with blanks",
            vec![sized(b"          5 "), after(), end()],
        ),
        (
            "size without end",
            vec![sized(b"000000000005"), after(), end()],
        ),
        (
            "size no number",
            vec![sized(b"five\0\0\0\0\0\0\0\0"), after(), end()],
        ),
        (
            "size with rubbish",
            vec![sized(b"5x\0\0\0\0\0\0\0\0\0\0"), after(), end()],
        ),
        ("size nothing", vec![sized(&[0; 12]), end()]),
        ("signed sum", vec![signed(), after(), end()]),
        ("wrong sum", vec![summed_as(b"0000001\0"), after(), end()]),
        ("no sum", vec![summed_as(b"zzzzzzz\0"), after(), end()]),
    ]
}

/// Names and links.
fn names() -> Vec<Odd> {
    vec![
        (
            "names twice",
            vec![file("a", b"first"), file("a", b"second"), end()],
        ),
        (
            "file then link",
            vec![
                file("a", b"x"),
                file("b", b"y"),
                link("a", b'2', "b"),
                end(),
            ],
        ),
        (
            "link then file",
            vec![
                file("b", b"y"),
                link("a", b'2', "b"),
                file("a", b"x"),
                end(),
            ],
        ),
        (
            "root names",
            vec![
                special("./", b'5', b""),
                special("/", b'5', b""),
                special(".", b'5', b""),
                file("./a", b"x"),
                end(),
            ],
        ),
        ("empty name", vec![file("", b"x"), after(), end()]),
        ("absolute", vec![file("/etc/a", b"x"), end()]),
        (
            "climbing",
            vec![
                file("../a", b"x"),
                file("b/../after", b"wrong"),
                after(),
                end(),
            ],
        ),
        ("double slashes", vec![file("a//b", b"x"), end()]),
        (
            "links in a ring",
            vec![link("a", b'2', "b"), link("b", b'2', "a"), after(), end()],
        ),
        (
            "hard link",
            vec![file("a", b"x"), link("b", b'1', "a"), end()],
        ),
        (
            "hard link to what comes later",
            vec![link("b", b'1', "a"), file("a", b"x"), end()],
        ),
        (
            "hard link with content",
            vec![file("a", b"x"), special("b", b'1', b"y"), after(), end()],
        ),
    ]
}

/// Types of members.
fn kinds() -> Vec<Odd> {
    vec![
        (
            "directory with content",
            vec![special("d", b'5', &inner()), after(), end()],
        ),
        (
            "symlink with content",
            vec![special("s", b'2', &inner()), after(), end()],
        ),
        (
            "device with content",
            vec![special("n", b'3', &inner()), after(), end()],
        ),
        (
            "file that is a directory",
            vec![file("d/", b""), after(), end()],
        ),
        ("contiguous", vec![special("c", b'7', b"x"), after(), end()]),
        (
            "unknown type",
            vec![special("z", b'Z', b"x"), after(), end()],
        ),
        ("old sparse", vec![special("s", b'S', b"x"), after(), end()]),
        ("volume", vec![special("v", b'V', b""), after(), end()]),
        (
            "part of many",
            vec![special("m", b'M', b"x"), after(), end()],
        ),
        (
            "dumped directory",
            vec![special("d", b'D', b"Ya\0\0"), after(), end()],
        ),
    ]
}

/// How archives end.
fn ends() -> Vec<Odd> {
    vec![
        ("cut off", vec![file("a", b"x"), truncated()]),
        ("no end", vec![file("a", b"x"), after()]),
        ("half an end", vec![file("a", b"x"), vec![0; 512]]),
        (
            "one empty block between",
            vec![file("a", b"x"), vec![0; 512], after(), end()],
        ),
        (
            "something behind the end",
            vec![file("a", b"x"), end(), after(), end()],
        ),
        ("nothing", vec![end()]),
        ("rubbish", vec![vec![b'r'; 2048]]),
    ]
}
