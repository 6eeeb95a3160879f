//! JSON as Go's `encoding/json` writes it, so that documents that both tools make have one digest.
//!
//! The difference to `serde_json` is the escaping of `<`, `>`, `&`, U+2028 and U+2029. Key order
//! is the order in which a type serializes; sorting map keys is up to the types.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// Returns `value` as compact JSON: what Go's `json.Marshal` gives.
///
/// # Errors
/// When the value has a map whose keys are no strings.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    write(value, CompactFormatter)
}

/// Returns `value` as JSON with one item per line, each level indented by `indent`: what Go's
/// `json.MarshalIndent` gives. There is no newline at the end.
///
/// # Errors
/// As for [`to_vec`].
pub fn to_vec_indented<T: Serialize + ?Sized>(
    value: &T,
    indent: &str,
) -> Result<Vec<u8>, serde_json::Error> {
    write(value, PrettyFormatter::with_indent(indent.as_bytes()))
}

fn write<T: Serialize + ?Sized, F: Formatter>(
    value: &T,
    layout: F,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(1024);
    value.serialize(&mut Serializer::with_formatter(&mut out, Escaping(layout)))?;
    Ok(out)
}

/// Adds Go's escaping of strings to a layout.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (clean, special) = rest.split_at(at);
            writer.write_all(clean.as_bytes())?;
            let mut characters = special.chars();
            if let Some(character) = characters.next() {
                write!(writer, "\\u{:04x}", u32::from(character))?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compact<T: Serialize + ?Sized>(value: &T) -> String {
        String::from_utf8(to_vec(value).unwrap()).unwrap()
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        for (text, written) in [
            ("a<b>&c", r#""a\u003cb\u003e\u0026c""#),
            ("<<", r#""\u003c\u003c""#),
            ("\u{2028}x\u{2029}", r#""\u2028x\u2029""#),
            ("quote\" back\\ slash/", r#""quote\" back\\ slash/""#),
            ("\n\r\t", r#""\n\r\t""#),
            ("\u{8}\u{c}", r#""\b\f""#), // Since Go 1.22; \u0008 and \u000c before.
            ("\u{0}\u{1f}\u{7f}", "\"\\u0000\\u001f\u{7f}\""),
            ("grün 日本 😀", "\"grün 日本 😀\""),
            ("", r#""""#),
        ] {
            assert_eq!(compact(text), written);
        }
    }

    #[test]
    fn keys_are_escaped_and_keep_their_order() {
        assert_eq!(
            compact(&json!({"z": 1, "<a>": [true, null], "e": {}})),
            r#"{"z":1,"\u003ca\u003e":[true,null],"e":{}}"#
        );
    }

    #[test]
    fn indented_output_is_that_of_marshal_indent() {
        let out = to_vec_indented(
            &json!({"a": [1, "x&y"], "b": {}, "c": [], "d": {"e": null}}),
            "    ",
        );
        let expected = r#"{
    "a": [
        1,
        "x\u0026y"
    ],
    "b": {},
    "c": [],
    "d": {
        "e": null
    }
}"#;
        assert_eq!(String::from_utf8(out.unwrap()).unwrap(), expected);
    }
}
