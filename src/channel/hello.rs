//! The handshake: each process tells the other its protocol version, its codec and the types of its
//! messages.
//!
//! ```text
//! HELLO    header, and any number of fields
//! field    tag u16, length u16, so many bytes
//!   1      the name of the codec
//!   2      the name of the type that this process sends
//!   3      the name of the type that this process expects
//! ```
//!
//! The header has the version of the protocol and the number of the codec. Both, and this layout,
//! stay the same in every later version, so that processes of different versions can report why
//! they cannot communicate. A field with another tag and an empty field are skipped, and of several
//! with the same tag the first counts.
//!
//! A HELLO may carry endpoints, in every version. The HELLO of a client to its server has the
//! sender for the opposite direction. The HELLO in the channel that a child inherits has three: the
//! receiver from its parent, the sender to its parent, and a sender to report that it has started.
//!
//! Names only appear in the texts of errors. The names that a peer gives its types decide nothing.

use super::frame::{Dialect, Head, Kind, Malformed};

/// The maximum number of bytes of the fields in one HELLO.
pub const MAX_HELLO_BYTES: usize = 4096;

/// The maximum number of bytes of a name.
pub const MAX_NAME_BYTES: usize = 256;

const CODEC_NAME: u16 = 1;
const SENT: u16 = 2;
const EXPECTED: u16 = 3;

/// The length of what precedes the bytes of a field.
const FIELD_HEAD_BYTES: usize = 4;

/// What a process says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The name of its codec.
    pub codec: &'static str,
    /// The type that it sends, if it sends.
    pub sent: Option<&'static str>,
    /// The type that it expects, if it receives.
    pub expected: Option<&'static str>,
}

impl Introduction {
    /// Returns the bytes that follow the header.
    pub fn fields(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        let named = [(CODEC_NAME, Some(self.codec)), (SENT, self.sent), (EXPECTED, self.expected)];
        for (tag, name) in named {
            let Some(name) = name.map(shortened) else { continue };
            fields.extend(tag.to_le_bytes());
            fields.extend((name.len() as u16).to_le_bytes());
            fields.extend(name.as_bytes());
        }
        fields
    }

    /// Returns the head of a packet with these fields and so many attachments.
    pub fn head(fields: &[u8], attachments: u8) -> Head {
        Head::new(Kind::Hello { dialect: Dialect::OWN }, attachments, fields.len() as u32)
    }
}

/// What a peer has said about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its version and codec.
    pub dialect: Dialect,
    /// The name of its codec.
    pub codec: Option<Box<str>>,
    /// The type that it sends.
    pub sent: Option<Box<str>>,
    /// The type that it expects.
    pub expected: Option<Box<str>>,
}

impl Hello {
    /// Parses what follows the header of a HELLO.
    ///
    /// # Errors
    ///
    /// [`Malformed::Hello`] if it is too long, or ends within a field.
    pub fn read(dialect: Dialect, fields: &[u8]) -> Result<Hello, Malformed> {
        if fields.len() > MAX_HELLO_BYTES {
            return Err(Malformed::Hello);
        }
        let mut hello = Hello { dialect, codec: None, sent: None, expected: None };
        let mut rest = fields;
        while !rest.is_empty() {
            let (head, after) =
                rest.split_first_chunk::<FIELD_HEAD_BYTES>().ok_or(Malformed::Hello)?;
            let [tag, len] = [[head[0], head[1]], [head[2], head[3]]].map(u16::from_le_bytes);
            let (value, after) = after.split_at_checked(len.into()).ok_or(Malformed::Hello)?;
            rest = after;
            let place = match tag {
                // An empty name counts as no name.
                _ if value.is_empty() => continue,
                CODEC_NAME => &mut hello.codec,
                SENT => &mut hello.sent,
                EXPECTED => &mut hello.expected,
                _ => continue,
            };
            place.get_or_insert_with(|| legible(value));
        }
        Ok(hello)
    }
}

/// Returns as much of a name as may be sent.
fn shortened(name: &str) -> &str {
    let mut len = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    &name[..len]
}

/// Makes a name that a peer has sent fit for one line of text, whatever it contains.
fn legible(name: &[u8]) -> Box<str> {
    let name = String::from_utf8_lossy(&name[..name.len().min(MAX_NAME_BYTES)]);
    let shown = |char| if is_shown(char) { char } else { char::REPLACEMENT_CHARACTER };
    let name: String = name.chars().map(shown).collect();
    // A byte that is replaced by a character can have become three.
    shortened(&name).into()
}

/// Returns whether a character is visible in its place and changes nothing else in its line, such
/// as the order of others. Identifiers of Rust have no others.
fn is_shown(char: char) -> bool {
    let is_invisible = matches!(
        char,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !char.is_control() && !is_invisible
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::super::frame::{HEADER_BYTES, parse};
    use super::*;

    fn field(tag: u16, value: &[u8]) -> Vec<u8> {
        [&tag.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value].concat()
    }

    fn read(fields: &[u8]) -> Result<Hello, Malformed> {
        Hello::read(Dialect::OWN, fields)
    }

    fn nothing() -> Hello {
        Hello { dialect: Dialect::OWN, codec: None, sent: None, expected: None }
    }

    #[test]
    fn written_hello_is_parsed_back() {
        let introduction =
            Introduction { codec: "plain", sent: Some("A<B>"), expected: Some("(u8, Ä)") };
        let fields = introduction.fields();
        let packet = [Introduction::head(&fields, 2).as_bytes(), &fields].concat();
        let frame = parse(&packet, packet.len(), 2).unwrap();
        assert_eq!(frame.kind, Kind::Hello { dialect: Dialect::OWN });
        assert_eq!(frame.head_len, HEADER_BYTES);
        let hello = read(&packet[frame.head_len..]).unwrap();
        let name = |name: &str| Some(name.into());
        let expected = Hello {
            codec: name("plain"),
            sent: name("A<B>"),
            expected: name("(u8, Ä)"),
            ..nothing()
        };
        assert_eq!(hello, expected);

        let one_way = Introduction { expected: None, ..introduction }.fields();
        assert_eq!(read(&one_way).unwrap(), Hello { expected: None, ..expected });
    }

    #[test]
    fn layout_is_that_of_other_versions() {
        let fields = Introduction { codec: "c", sent: Some("st"), expected: None }.fields();
        assert_eq!(fields, *b"\x01\0\x01\0c\x02\0\x02\0st");
    }

    #[test]
    fn unknown_fields_are_skipped_and_the_first_of_several_counts() {
        assert_eq!(read(&[]).unwrap(), nothing());
        let fields = [
            field(0, b"?"),
            field(u16::MAX, &[0xff; 1000]),
            field(SENT, b""),
            field(SENT, b"first"),
            field(4, b""),
            field(SENT, b"second"),
        ];
        let hello = read(&fields.concat()).unwrap();
        assert_eq!(hello, Hello { sent: Some("first".into()), ..nothing() });
    }

    #[test]
    fn hello_that_ends_within_a_field_is_refused() {
        let good = field(SENT, b"name");
        for len in 1..good.len() {
            assert_eq!(read(&good[..len]), Err(Malformed::Hello), "{len}");
            let second = [&good[..], &good[..len]].concat();
            assert_eq!(read(&second), Err(Malformed::Hello), "{len}");
        }
        for tag in [SENT, 77] {
            let mut lie = field(tag, b"name");
            lie[2..4].copy_from_slice(&u16::MAX.to_le_bytes());
            assert_eq!(read(&lie), Err(Malformed::Hello));
        }
    }

    #[test]
    fn hello_that_is_too_long_is_refused() {
        let most = field(77, &[0; MAX_HELLO_BYTES - FIELD_HEAD_BYTES]);
        assert_eq!(read(&most), Ok(nothing()));
        let more = field(77, &[0; MAX_HELLO_BYTES - FIELD_HEAD_BYTES + 1]);
        assert_eq!(read(&more), Err(Malformed::Hello));
    }

    #[test]
    fn names_are_short_and_fit_into_a_line() {
        let name = |value: &[u8]| read(&field(SENT, value)).unwrap().sent.unwrap();
        assert_eq!(*name(b"a\nb\x1b[31mc\0"), *"a\u{fffd}b\u{fffd}[31mc\u{fffd}");
        assert_eq!(*name("a\u{202e}b\u{2028}".as_bytes()), *"a\u{fffd}b\u{fffd}");
        for char in
            ['\u{85}', '\u{61c}', '\u{200b}', '\u{200f}', '\u{2066}', '\u{feff}', '\u{e0041}']
        {
            assert_eq!(*name(format!("a{char}b").as_bytes()), *"a\u{fffd}b");
        }
        assert_eq!(*name("Größe::लंबाई<長さ>".as_bytes()), *"Größe::लंबाई<長さ>");
        assert_eq!(*name(&[0xff, b'a', 0xc3]), *"\u{fffd}a\u{fffd}");
        for value in [vec![b'x'; 4000], vec![0xff; 4000], "ä€😀".repeat(300).into_bytes()] {
            let name = name(&value);
            assert!((MAX_NAME_BYTES - 3..=MAX_NAME_BYTES).contains(&name.len()), "{}", name.len());
        }
        // At the boundary of a character, not within it.
        static LONG: LazyLock<String> = LazyLock::new(|| "€".repeat(200));
        let fields = Introduction { codec: "c", sent: Some(&LONG), expected: None }.fields();
        let name = read(&fields).unwrap().sent.unwrap();
        assert_eq!(*name, *"€".repeat(MAX_NAME_BYTES / 3));
    }
}
