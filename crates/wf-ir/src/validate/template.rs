//! Reading templates: their syntax, their free names, and the limits that keep their parser within its stack.

use std::collections::BTreeSet;

use minijinja::Environment;

use crate::codes;

/// Longest `{{ … }}` or `{% … %}`, in bytes. What nests nests within one tag, and the parser recurses over it.
const TAG_BYTES_MAX: usize = 1_024;
/// Most `elif` branches in one template, over which the parser recurses too.
const ELIF_MAX: usize = 64;
/// Names that the template language itself provides.
const GLOBALS: [&str; 4] = ["range", "dict", "namespace", "debug"];

/// What is wrong with a template.
#[derive(Debug)]
pub(super) struct TemplateFault {
    pub(super) code: &'static str,
    /// Line in the template, from 1.
    pub(super) line: usize,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Reads templates.
pub(super) struct Templates {
    env: Environment<'static>,
}

impl Templates {
    pub(super) fn new() -> Self {
        Self { env: Environment::new() }
    }

    /// What a template reads: free names with the fields they are read by, such as `inputs.goal`.
    pub(super) fn reads(&self, source: &str) -> Result<BTreeSet<String>, TemplateFault> {
        if !source.contains("{{") && !source.contains("{%") && !source.contains("{#") {
            return Ok(BTreeSet::new());
        }
        check_tags(source)?;
        let template = self.env.template_from_str(source).map_err(|error| TemplateFault {
            code: codes::TEMPLATE_SYNTAX,
            line: error.line().unwrap_or(1),
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
            hint: Some("text that only looks like a template goes between {% raw %} and {% endraw %}".to_owned()),
        })?;
        let reads = template.undeclared_variables(true);
        Ok(reads.into_iter().filter(|path| !GLOBALS.contains(&first_name(path))).collect())
    }
}

/// The name a path begins with.
pub(super) fn first_name(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// Walks over the tags of a template without understanding them.
fn check_tags(source: &str) -> Result<(), TemplateFault> {
    let mut rest = source;
    let mut elif_count = 0;
    loop {
        let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() else {
            return Ok(());
        };
        let line = || 1 + source[..source.len() - rest.len() + start].matches('\n').count();
        let tag = &rest[start..];
        let fault = |code, message: String| TemplateFault { code, line: line(), message, hint: None };
        if tag.starts_with("{#") {
            let Some(end) = tag.find("#}") else { return Ok(()) };
            rest = &tag[end + 2..];
            continue;
        }
        let end = tag_end(tag);
        let inside = &tag[..end];
        if inside.len() > TAG_BYTES_MAX {
            let message = format!("one tag of a template is at most {TAG_BYTES_MAX} bytes long");
            return Err(fault(codes::TEMPLATE_LIMIT, message));
        }
        rest = &tag[end..];
        if !inside.starts_with("{%") {
            continue;
        }
        let word: &str = inside[2..].trim_start_matches(['-', '+']).trim_start();
        let word = &word[..word.bytes().take_while(u8::is_ascii_alphabetic).count()];
        match word {
            "include" | "import" | "from" | "extends" => {
                let mut fault = fault(codes::TEMPLATE_INCLUDE, format!("`{word}` reads another template"));
                fault.hint = Some("put the text into the prompt, or hand it over by `vars`".to_owned());
                return Err(fault);
            }
            "elif" => {
                elif_count += 1;
                if elif_count > ELIF_MAX {
                    let message = format!("a template has at most {ELIF_MAX} `elif`");
                    return Err(fault(codes::TEMPLATE_LIMIT, message));
                }
            }
            "raw" => match rest.find("endraw") {
                Some(end) => rest = &rest[end..],
                None => return Ok(()),
            },
            _ => {}
        }
    }
}

/// Where a tag that begins at the start of `tag` ends; strings in it may hold its closing sign.
fn tag_end(tag: &str) -> usize {
    let close: &[u8] = if tag.starts_with("{{") { b"}}" } else { b"%}" };
    let bytes = tag.as_bytes();
    let mut quote = None;
    let mut at = 2;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(_), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
            (None, _) if bytes[at..].starts_with(close) => return at + 2,
            (None, _) => {}
        }
        at += 1;
    }
    tag.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        let found = match Templates::new().reads(source) {
            Ok(reads) => reads.into_iter().collect::<Vec<_>>().join(" "),
            Err(fault) => format!("{}:{} {}", fault.code, fault.line, fault.message),
        };
        assert_eq!(found, expected, "{}", &source[..source.len().min(80)]);
    }

    #[test]
    fn free_names_are_found() {
        check("plain", "");
        check("{# {{ comment }} #}{{ a }}", "a");
        check("{{ node.x.status }} {{ a.b[0].c }} {{ range(3) }}", "a.b node.x.status");
        check("{% for item in items %}{{ item.z }} {{ loop.index }}{% endfor %}", "items");
        check("{% set q = p %}{{ q }}", "p");
        check("{% raw %}{{ not_read }}{% include 'x' %}{% endraw %}{{ read }}", "read");
        check("{{ '}}' ~ a }}", "a");
    }

    #[test]
    fn faults_have_lines() {
        check("\n\n{{ a b }}", "WF0303:3 unexpected identifier, expected end of variable block");
        check("a\n{% if x %}", "WF0303:2 unexpected end of input, expected end of block");
        check("{% include 'x' %}", "WF0305:1 `include` reads another template");
        check("\n{%- extends 'x' -%}", "WF0305:2 `extends` reads another template");
    }

    #[test]
    fn what_would_overflow_the_parser_is_refused() {
        let tag = "WF0304:1 one tag of a template is at most 1024 bytes long";
        check(&format!("{{{{ 1{} }}}}", "+1".repeat(50_000)), tag);
        check(&format!("{{{{ {}1 }}}}", "-".repeat(50_000)), tag);
        check(&format!("{{{{ a{} }}}}", "|e".repeat(50_000)), tag);
        check(&format!("{{{{ '{}", "x".repeat(50_000)), tag);
        let elifs = "{% elif a %}".repeat(5_000);
        check(&format!("{{% if a %}}{elifs}{{% endif %}}"), "WF0304:1 a template has at most 64 `elif`");
        let nested = format!("{}{}", "{% if a %}".repeat(5_000), "{% endif %}".repeat(5_000));
        check(&nested, "WF0303:1 template exceeds maximum recursion limits");
    }

    /// Everything that nests, at its limit, at once.
    #[test]
    fn the_limits_fit_the_stack() {
        let opened = "{% if a %}".repeat(70) + &"{% elif a %}".repeat(64);
        let deep = format!("{opened}{{{{ {}a }}}}{}", "-".repeat(1_010), "{% endif %}".repeat(70));
        check(&deep, "a");
    }
}
