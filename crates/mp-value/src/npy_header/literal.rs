//! The literals of Python that a header may have.

use core::fmt;
use core::iter::Peekable;
use core::str::CharIndices;

/// A value written as Python writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Literal {
    Text(String),
    Int(i128),
    Bool(bool),
    None,
    Tuple(Vec<Literal>),
    List(Vec<Literal>),
}

/// How deep literals may be nested; a structure of structures takes two levels for each.
const DEPTH: usize = 32;

impl Literal {
    /// The entries of a dict, after which there is only white space.
    pub(super) fn parse_dict(text: &str) -> Result<Vec<(String, Self)>, String> {
        let mut parser = Parser {
            text,
            rest: text.char_indices().peekable(),
        };
        parser.expect('{')?;
        let mut entries = Vec::new();
        while !parser.accept('}') {
            let Self::Text(key) = parser.literal(DEPTH)? else {
                return Err("a key of it is no text".to_owned());
            };
            parser.expect(':')?;
            entries.push((key, parser.literal(DEPTH)?));
            if !parser.accept(',') {
                parser.expect('}')?;
                break;
            }
        }
        parser.skip_spaces();
        match parser.rest.peek() {
            None => Ok(entries),
            Some(_) => Err(parser.refusal("the end")),
        }
    }

    /// The dtype as our own types write it: the byte order that numpy would write itself, and no
    /// space too many.
    pub(super) fn canonical_dtype(&self) -> String {
        match self {
            Self::Text(dtype) => format!("'{}'", with_order(dtype)),
            Self::List(fields) => {
                let fields: Vec<_> = fields.iter().map(Self::canonical_field).collect();
                format!("[{}]", fields.join(", "))
            }
            other => other.to_string(),
        }
    }

    fn canonical_field(&self) -> String {
        match self {
            Self::Tuple(parts) => match parts.as_slice() {
                [name @ Self::Text(_), dtype] => format!("({name}, {})", dtype.canonical_dtype()),
                [name @ Self::Text(_), dtype, shape] => {
                    format!("({name}, {}, {shape})", dtype.canonical_dtype())
                }
                _ => self.to_string(),
            },
            other => other.to_string(),
        }
    }
}

/// A scalar's dtype with the byte order written as numpy does on this machine.
fn with_order(dtype: &str) -> String {
    let (order, rest) = match dtype.chars().next() {
        Some(order @ ('<' | '>' | '=' | '|')) => (order, &dtype[1..]),
        _ => ('=', dtype),
    };
    let has_order =
        !matches!(rest, "i1" | "u1" | "b1" | "?") && !rest.starts_with(['S', 'V', 'O', 'a']);
    let rest = if rest == "?" { "b1" } else { rest };
    match order {
        _ if !has_order => format!("|{rest}"),
        '=' => format!("<{rest}"),
        order => format!("{order}{rest}"),
    }
}

impl fmt::Display for Literal {
    /// Writes it as Python does.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |literals: &[Self]| {
            let texts: Vec<_> = literals.iter().map(Self::to_string).collect();
            texts.join(", ")
        };
        match self {
            Self::Text(text) => write!(formatter, "'{text}'"),
            Self::Int(int) => int.fmt(formatter),
            Self::Bool(true) => formatter.write_str("True"),
            Self::Bool(false) => formatter.write_str("False"),
            Self::None => formatter.write_str("None"),
            Self::Tuple(one) if one.len() == 1 => write!(formatter, "({},)", joined(one)),
            Self::Tuple(literals) => write!(formatter, "({})", joined(literals)),
            Self::List(literals) => write!(formatter, "[{}]", joined(literals)),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    rest: Peekable<CharIndices<'t>>,
}

impl Parser<'_> {
    /// Reads one literal with at most `depth` levels.
    fn literal(&mut self, depth: usize) -> Result<Literal, String> {
        self.skip_spaces();
        match self.rest.peek().map(|(_, char)| *char) {
            Some(quote @ ('\'' | '"')) => self.text(quote),
            Some('(') => self.sequence('(', ')', depth),
            Some('[') => self
                .sequence('[', ']', depth)
                .map(|sequence| match sequence {
                    Literal::Tuple(literals) => Literal::List(literals),
                    literal => literal,
                }),
            Some('-' | '0'..='9') => self.int(),
            Some('A'..='Z' | 'a'..='z' | '_') => self.word(),
            _ => Err(self.refusal("a literal")),
        }
    }

    /// Reads what lies between two brackets. A single one in round brackets without a comma is
    /// itself, as in Python.
    fn sequence(&mut self, open: char, close: char, depth: usize) -> Result<Literal, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.refusal("fewer brackets in brackets"));
        };
        self.expect(open)?;
        let mut literals = Vec::new();
        let mut commas = 0;
        while !self.accept(close) {
            literals.push(self.literal(depth)?);
            if !self.accept(',') {
                self.expect(close)?;
                break;
            }
            commas += 1;
        }
        match literals.pop() {
            Some(single) if open == '(' && commas == 0 => Ok(single),
            last => {
                literals.extend(last);
                Ok(Literal::Tuple(literals))
            }
        }
    }

    /// Reads a text without escapes: numpy writes none for names and types, and a name with one is
    /// refused.
    fn text(&mut self, quote: char) -> Result<Literal, String> {
        self.expect(quote)?;
        let mut text = String::new();
        loop {
            match self.rest.peek().map(|(_, char)| *char) {
                Some(end) if end == quote => break,
                Some('\\' | '\n' | '\'' | '"') | None => {
                    return Err(self.refusal("the end of a text without escapes"));
                }
                Some(char) => text.push(char),
            }
            self.rest.next();
        }
        self.rest.next();
        Ok(Literal::Text(text))
    }

    fn int(&mut self) -> Result<Literal, String> {
        let is_negative = self.accept('-');
        let mut int = None;
        while let Some(digit) = self.rest.peek().and_then(|(_, char)| char.to_digit(10)) {
            let larger = int.unwrap_or(0_i128).checked_mul(10);
            let larger = larger.and_then(|int| int.checked_add(digit.into()));
            int = Some(larger.ok_or_else(|| self.refusal("a smaller number"))?);
            self.rest.next();
        }
        // Python 2 marked long ones.
        if self.rest.peek().is_some_and(|(_, char)| *char == 'L') {
            self.rest.next();
        }
        let int = int.ok_or_else(|| self.refusal("a digit"))?;
        Ok(Literal::Int(if is_negative { -int } else { int }))
    }

    fn word(&mut self) -> Result<Literal, String> {
        let start = self.position();
        let is_part = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
        let refusal = self.refusal("a literal");
        while self.rest.peek().is_some_and(|(_, char)| is_part(char)) {
            self.rest.next();
        }
        match &self.text[start..self.position()] {
            "True" => Ok(Literal::Bool(true)),
            "False" => Ok(Literal::Bool(false)),
            "None" => Ok(Literal::None),
            _ => Err(refusal),
        }
    }

    fn skip_spaces(&mut self) {
        while self
            .rest
            .peek()
            .is_some_and(|(_, char)| matches!(char, ' ' | '\n' | '\r' | '\t'))
        {
            self.rest.next();
        }
    }

    /// Whether `char` came next, after white space; then it is read.
    fn accept(&mut self, char: char) -> bool {
        self.skip_spaces();
        let is_next = self.rest.peek().is_some_and(|(_, next)| *next == char);
        if is_next {
            self.rest.next();
        }
        is_next
    }

    fn expect(&mut self, char: char) -> Result<(), String> {
        if self.accept(char) {
            return Ok(());
        }
        Err(self.refusal(&format!("{char:?}")))
    }

    fn position(&mut self) -> usize {
        self.rest
            .peek()
            .map_or(self.text.len(), |(place, _)| *place)
    }

    #[cold]
    fn refusal(&mut self, expected: &str) -> String {
        let position = self.position();
        let found: String = self.text[position..].chars().take(20).collect();
        match found.as_str() {
            "" => format!("its text ends, {expected} was expected"),
            found => format!("byte {position} of its text is {found:?}, {expected} was expected"),
        }
    }
}
