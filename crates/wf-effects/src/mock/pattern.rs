//! Texts that match a regular expression, for the usual expressions of schemas: literals, classes, groups,
//! alternatives, repetition. What it does not know gives no text, and what it gives is checked by the caller.

use super::generate::Random;

/// Most repetitions of something that may be repeated without end.
const REPEAT_MAX: u32 = 3;
/// Longest text.
const TEXT_CHARS_MAX: usize = 10_000;
/// Deepest nesting of groups.
const DEPTH_MAX: usize = 32;

/// A text that matches `pattern`, if the pattern is understood.
pub(super) fn text_like(pattern: &str, random: &mut Random) -> Option<String> {
    let mut reader = Reader { chars: pattern.chars().collect(), at: 0 };
    let node = reader.alternatives(0)?;
    if reader.at != reader.chars.len() {
        return None;
    }
    let mut text = String::new();
    node.write(&mut text, random)?;
    Some(text)
}

enum Node {
    /// One of these characters.
    Class(Vec<(char, char)>),
    /// One after the other.
    All(Vec<Node>),
    /// Any one.
    One(Vec<Node>),
    /// So many times.
    Repeat(Box<Node>, u32, u32),
}

impl Node {
    fn write(&self, text: &mut String, random: &mut Random) -> Option<()> {
        if text.len() > TEXT_CHARS_MAX {
            return None;
        }
        match self {
            Self::Class(ranges) => {
                let (low, high) = ranges[random.below(ranges.len() as u64) as usize];
                let span = u64::from(u32::from(high) - u32::from(low)) + 1;
                // Surrogates lie within some ranges; the lowest character never is one.
                let code = u32::from(low) + u32::try_from(random.below(span)).ok()?;
                text.push(char::from_u32(code).unwrap_or(low));
            }
            Self::All(nodes) => nodes.iter().try_for_each(|node| node.write(text, random))?,
            Self::One(nodes) => nodes[random.below(nodes.len() as u64) as usize].write(text, random)?,
            Self::Repeat(node, low, high) => {
                let count = low + u32::try_from(random.below(u64::from(high - low) + 1)).ok()?;
                (0..count).try_for_each(|_| node.write(text, random))?;
            }
        }
        Some(())
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn eat(&mut self, expected: char) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    fn alternatives(&mut self, depth: usize) -> Option<Node> {
        if depth > DEPTH_MAX {
            return None;
        }
        let mut all = vec![self.sequence(depth)?];
        while self.eat('|') {
            all.push(self.sequence(depth)?);
        }
        Some(Node::One(all))
    }

    fn sequence(&mut self, depth: usize) -> Option<Node> {
        let mut nodes = Vec::new();
        while let Some(next) = self.peek().filter(|next| !matches!(next, '|' | ')')) {
            // The text begins and ends where the pattern does.
            if matches!(next, '^' | '$') {
                self.at += 1;
                continue;
            }
            let node = self.atom(depth)?;
            nodes.push(self.repeated(node)?);
        }
        Some(Node::All(nodes))
    }

    fn atom(&mut self, depth: usize) -> Option<Node> {
        match self.next()? {
            '(' => {
                if self.eat('?') && !self.eat(':') {
                    return None;
                }
                let node = self.alternatives(depth + 1)?;
                self.eat(')').then_some(node)
            }
            '[' => self.class(),
            '.' => Some(Node::Class(vec![('a', 'z')])),
            '\\' => self.escape().map(Node::Class),
            '*' | '+' | '?' | '{' => None,
            literal => Some(Node::Class(vec![(literal, literal)])),
        }
    }

    fn escape(&mut self) -> Option<Vec<(char, char)>> {
        Some(match self.next()? {
            'd' => vec![('0', '9')],
            'w' => vec![('a', 'z'), ('0', '9')],
            's' => vec![(' ', ' ')],
            'S' | 'D' => vec![('a', 'z')],
            'n' => vec![('\n', '\n')],
            't' => vec![('\t', '\t')],
            letter if letter.is_alphanumeric() => return None,
            literal => vec![(literal, literal)],
        })
    }

    fn class(&mut self) -> Option<Node> {
        let is_negated = self.eat('^');
        let mut ranges = Vec::new();
        loop {
            let low = match self.next()? {
                ']' if !ranges.is_empty() => break,
                '[' => return None,
                '\\' => {
                    let escaped = self.escape()?;
                    match escaped[..] {
                        [(only, same)] if only == same => only,
                        _ => {
                            ranges.extend(escaped);
                            continue;
                        }
                    }
                }
                literal => literal,
            };
            let is_range = self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|next| *next != ']');
            if !is_range {
                ranges.push((low, low));
                continue;
            }
            self.at += 1;
            let high = self.next()?;
            ranges.push((low <= high && high != '\\').then_some((low, high))?);
        }
        if !is_negated {
            return Some(Node::Class(ranges));
        }
        let is_free = |c: &char| !ranges.iter().any(|(low, high)| (low..=high).contains(&c));
        ('a'..='z').chain('0'..='9').find(is_free).map(|c| Node::Class(vec![(c, c)]))
    }

    fn repeated(&mut self, node: Node) -> Option<Node> {
        let (low, high) = match self.peek() {
            Some('?') => (0, 1),
            Some('*') => (0, REPEAT_MAX),
            Some('+') => (1, REPEAT_MAX),
            Some('{') => return self.counted(node),
            _ => return Some(node),
        };
        self.at += 1;
        self.eat('?');
        Some(Node::Repeat(Box::new(node), low, high))
    }

    fn counted(&mut self, node: Node) -> Option<Node> {
        self.at += 1;
        let low = self.number()?;
        let high = match self.next()? {
            '}' => low,
            ',' if self.eat('}') => low.checked_add(REPEAT_MAX)?,
            ',' => {
                let high = self.number()?;
                self.eat('}').then_some(high)?
            }
            _ => return None,
        };
        self.eat('?');
        (low <= high).then(|| Node::Repeat(Box::new(node), low, high))
    }

    fn number(&mut self) -> Option<u32> {
        let mut text = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            text.push(digit);
            self.at += 1;
        }
        text.parse().ok()
    }
}
