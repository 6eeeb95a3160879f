//! What a definition file says about starting a container, as a script.

/// Where the script is in the image.
pub(super) const SCRIPT_PATH: &str = "/podman/runscript";

/// Returns the script for the sections `%environment` and `%runscript` of a definition file; `None`
/// when there is nothing in them.
///
/// COMPAT(skopeo): a section begins with a line that is its name and nothing else; lines lose the
/// blanks around them; comments and empty lines of `%environment` are left out; several sections of
/// one name are one.
pub(super) fn script(definition: &str) -> Option<String> {
    let (mut environment, mut run) = (Vec::new(), Vec::new());
    let mut section = Section::Other;
    for line in definition.lines().map(str::trim) {
        match (section, line) {
            (_, "%environment") => section = Section::Environment,
            (_, "%runscript") => section = Section::Run,
            (_, line) if line.starts_with('%') => section = Section::Other,
            (Section::Environment, line) if !line.is_empty() && !line.starts_with('#') => {
                environment.push(line);
            }
            (Section::Run, line) => run.push(line),
            _ => {}
        }
    }
    if environment.is_empty() && run.is_empty() {
        return None;
    }
    let (environment, run) = (environment.join("\n"), run.join("\n"));
    Some(format!("#!/bin/bash\n{environment}\n{run}\n"))
}

#[derive(Clone, Copy)]
enum Section {
    Environment,
    Run,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What skopeo 1.9.3 made of the same definitions.
    #[test]
    fn the_script_has_the_environment_and_then_what_is_run() {
        for (definition, expected) in [
            ("", None),
            ("Bootstrap: docker\n%post\n x\n", None),
            ("%runscript\n%post\n x\n", None),
            ("%environment\n # x\n\n", None),
            (
                "%post\n foo\n%environment\n   export A=b\n # comment\n\n%runscript\n   echo hi\n\n   \
                 # c\n   exec \"$@\"\n%labels\nx y\n",
                Some("#!/bin/bash\nexport A=b\necho hi\n\n# c\nexec \"$@\"\n"),
            ),
            (
                "%environment\nA=1\n%runscript foo\necho no\n%test\n%runscript\r\n  a \\\n  b\t\r\n   \
                 %weird\n%environment\nB=2",
                Some("#!/bin/bash\nA=1\nB=2\na \\\nb\n"),
            ),
            (
                "%environment\n#x\n\n%runscript\n\n",
                Some("#!/bin/bash\n\n\n"),
            ),
        ] {
            assert_eq!(script(definition).as_deref(), expected, "{definition}");
        }
    }
}
