//! `WWW-Authenticate` (RFC 9110 §11.6.1, RFC 6750): which proof a server asks for.
//!
//! Several headers, several challenges in one header, quoted strings and tokens are understood.
//! What cannot be parsed is left out, as is a scheme other than Basic and Bearer.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One challenge of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password.
    Basic,
    /// A token that the service at `realm` issues.
    Bearer(Bearer),
}

/// What a Bearer challenge says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// The address of the token service, as sent.
    pub(crate) realm: Option<String>,
    /// The name of the service that asks.
    pub(crate) service: Option<String>,
    /// The scopes that the server thinks are needed, separated by spaces.
    pub(crate) scope: Option<String>,
    /// Why a token that was sent is not enough.
    pub(crate) error: Option<String>,
}

/// How many challenges of one answer are looked at.
const MOST_CHALLENGES: usize = 16;

/// Returns the challenges that dhow can answer, in the order of the server.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
        .flat_map(parse)
        .take(MOST_CHALLENGES)
        .collect()
}

fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut scanner = Scanner { rest: header };
    let mut current: Option<(String, Bearer)> = None;
    loop {
        scanner.skip_separators();
        let Some(word) = scanner.token() else { break };
        if scanner.takes_equals() {
            let value = scanner.value();
            if let Some((_, bearer)) = &mut current {
                bearer.set(word, value);
            }
        } else {
            found.extend(current.take().and_then(finish));
            current = Some((word.to_ascii_lowercase(), Bearer::default()));
        }
    }
    found.extend(current.and_then(finish));
    found
}

fn finish((scheme, bearer): (String, Bearer)) -> Option<Challenge> {
    match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer(bearer)),
        _ => None,
    }
}

impl Bearer {
    fn set(&mut self, name: &str, value: String) {
        let field = match name.to_ascii_lowercase().as_str() {
            "realm" => &mut self.realm,
            "service" => &mut self.service,
            "scope" => &mut self.scope,
            "error" => &mut self.error,
            _ => return,
        };
        if field.is_none() && !value.is_empty() {
            *field = Some(value);
        }
    }

    /// Returns the scopes that the server names.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scope.as_deref().unwrap_or_default().split_whitespace()
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn skip_separators(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', ',']);
    }

    /// Takes a token (RFC 9110 §5.6.2); a character that cannot begin one is passed over, so that
    /// the scan always ends.
    fn token(&mut self) -> Option<&'a str> {
        loop {
            let end = self
                .rest
                .find(|c: char| !is_token(c))
                .unwrap_or(self.rest.len());
            if end > 0 {
                let (token, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Some(token);
            }
            let mut characters = self.rest.chars();
            characters.next()?;
            self.rest = characters.as_str();
        }
    }

    fn takes_equals(&mut self) -> bool {
        match self.rest.trim_start_matches([' ', '\t']).strip_prefix('=') {
            // `Negotiate abc==` carries a token68, which ends in equals signs and has no value.
            Some(rest) if !rest.starts_with('=') => {
                self.rest = rest.trim_start_matches([' ', '\t']);
                true
            }
            _ => false,
        }
    }

    fn value(&mut self) -> String {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            // COMPAT: servers leave the quotes out around URLs, too.
            let end = self.rest.find([',', ' ', '\t']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return value.to_owned();
        };
        let mut value = String::new();
        let mut characters = quoted.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => value.extend(characters.next()),
                other => value.push(other),
            }
        }
        self.rest = characters.as_str();
        value
    }
}

fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(character)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn bearer(realm: &str, service: &str, scope: &str) -> Challenge {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Challenge::Bearer(Bearer {
            realm: some(realm),
            service: some(service),
            scope: some(scope),
            error: None,
        })
    }

    #[test]
    fn challenges_are_read_in_all_their_forms() {
        let r = "https://r.io/t";
        for (header, expected) in [
            ("Basic", vec![Challenge::Basic]),
            ("bAsIc realm=\"x\"", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://r.io/t",service="r.io",scope="repository:a/b:pull,push""#,
                vec![bearer(r, "r.io", "repository:a/b:pull,push")],
            ),
            (
                r#"Bearer realm = "https://r.io/t" , service=r.io"#,
                vec![bearer(r, "r.io", "")],
            ),
            (
                "Bearer realm=https://r.io/t,service=s",
                vec![bearer(r, "s", "")],
            ),
            (
                r#"Bearer realm="https://r.io/t",service="a \"b\", c""#,
                vec![bearer(r, r#"a "b", c"#, "")],
            ),
            (
                r#"Basic realm="a", Bearer realm="https://r.io/t""#,
                vec![Challenge::Basic, bearer(r, "", "")],
            ),
            (
                r#"Negotiate, Bearer realm="https://r.io/t", Basic realm="b""#,
                vec![bearer(r, "", ""), Challenge::Basic],
            ),
            ("Negotiate YWJj==, Basic", vec![Challenge::Basic]),
            (r#"Digest realm="x", nonce="y""#, vec![]),
            (
                r#"Bearer realm="unterminated"#,
                vec![bearer("unterminated", "", "")],
            ),
            ("", vec![]),
            (",,,=\"\"=", vec![]),
            ("Bearer", vec![bearer("", "", "")]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    #[test]
    fn several_headers_keep_their_order_and_count_is_bounded() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=a"));
        headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        assert_eq!(
            challenges(&headers),
            vec![bearer("a", "", ""), Challenge::Basic]
        );
        for _ in 0..100 {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        }
        assert_eq!(challenges(&headers).len(), MOST_CHALLENGES);
    }
}
