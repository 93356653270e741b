//! What a reply subject ends with: the slot, and which use of it this is.

use async_nats::Subject;

/// A slot in one of its uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Sixteen bits of index and thirty-two of generation, in hexadecimal.
const LENGTH: usize = 12;

impl Token {
    /// `<inbox>.<token>`
    pub(crate) fn reply_subject(self, inbox: &str) -> Subject {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut subject = String::with_capacity(inbox.len() + 1 + LENGTH);
        subject.push_str(inbox);
        subject.push('.');
        let token = u64::from(self.generation) << 16 | u64::from(self.index);
        for nibble in (0..LENGTH).rev() {
            subject.push(HEX[(token >> (4 * nibble) & 0xf) as usize] as char);
        }
        Subject::from(subject)
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != LENGTH {
            return None;
        }
        let n =
            text.iter().try_fold(0u64, |n, c| char::from(*c).to_digit(16).map(|d| n << 4 | u64::from(d)))?;
        Some(Token { index: (n & 0xffff) as u32, generation: u32::try_from(n >> 16).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_slot_and_generation() {
        let token = |index, generation| Some(Token { index, generation });
        assert_eq!(Token::parse(b"000000010002"), token(2, 1));
        assert_eq!(Token::parse(b"ffffffffffff"), token(0xffff, u32::MAX));
        assert_eq!(Token::parse(b"00000001000"), None);
        assert_eq!(Token::parse(b"00000001000g"), None);
        for t in [Token { index: 0, generation: 0 }, Token { index: 65_535, generation: 77 }] {
            let subject = t.reply_subject("_INBOX.x");
            assert_eq!(Token::parse(&subject.as_bytes()["_INBOX.x.".len()..]), Some(t));
        }
    }
}
