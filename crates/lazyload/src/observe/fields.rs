//! The fields of a Protocol Buffers message, borrowed from its bytes; the wire format as protobuf.dev/programming-guides/encoding
//! has it. Fields that nobody asks for, groups included, are stepped over.

/// Deepest nesting of groups that is stepped over; prost's limit.
const MAX_GROUPS: usize = 100;

/// The bytes are no message, or a field has another type than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A variable-length integer.
    Number(u64),
    /// A string, bytes or an embedded message.
    Bytes(&'a [u8]),
    /// A fixed-width number or a group; no field read here has one.
    Other,
}

impl<'a> Value<'a> {
    /// The value of a string, bytes or an embedded message.
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(Malformed) }
    }

    /// The value of a `uint32`: the lower half, as every decoder takes it.
    pub(super) fn uint32(self) -> Result<u32, Malformed> {
        let Self::Number(number) = self else { return Err(Malformed) };
        u32::try_from(number & u64::from(u32::MAX)).map_err(|_| Malformed)
    }
}

/// The fields of a message in the order of its bytes: field number and value. Ends after the first error.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of the message in these bytes.
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    #[inline]
    fn field(&mut self) -> Result<(u32, Value<'a>), Malformed> {
        let (number, wire_type) = self.key()?;
        let value = match wire_type {
            0 => Value::Number(self.varint()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            3 => self.skip_group(number)?,
            5 => self.skip(4)?,
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }

    /// Field number and wire type.
    fn key(&mut self) -> Result<(u32, u32), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let number = key >> 3;
        if number == 0 { Err(Malformed) } else { Ok((number, key & 7)) }
    }

    /// Nearly all keys and lengths are one byte or two.
    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            // The tenth byte has room for one bit.
            if shift == 63 && *byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Result<Value<'a>, Malformed> {
        self.take(length).map(|_| Value::Other)
    }

    /// Steps over a group up to its end; groups may hold groups. The numbers of the open ones stand on a small stack.
    #[cold]
    #[inline(never)]
    fn skip_group(&mut self, number: u32) -> Result<Value<'a>, Malformed> {
        let mut open = [0; MAX_GROUPS];
        let mut depth = 0;
        let mut innermost = number;
        loop {
            let (number, wire_type) = self.key()?;
            match wire_type {
                0 => _ = self.varint()?,
                1 => _ = self.take(8)?,
                2 => {
                    let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                    self.take(length)?;
                }
                3 => {
                    *open.get_mut(depth).ok_or(Malformed)? = innermost;
                    depth += 1;
                    innermost = number;
                }
                4 if number != innermost => return Err(Malformed),
                4 if depth == 0 => return Ok(Value::Other),
                4 => {
                    depth -= 1;
                    innermost = *open.get(depth).ok_or(Malformed)?;
                }
                5 => _ = self.take(4)?,
                _ => return Err(Malformed),
            }
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Vec<Result<(u32, Value<'_>), Malformed>> {
        Fields::new(bytes).collect()
    }

    #[test]
    fn every_wire_type_is_read_or_stepped_over() {
        let bytes = [
            0x08, 0x96, 0x01, // 1: varint 150
            0x12, 0x02, b'h', b'i', // 2: "hi"
            0x19, 1, 2, 3, 4, 5, 6, 7, 8, // 3: 64 bit
            0x25, 1, 2, 3, 4, // 4: 32 bit
            0x2b, 0x33, 0x08, 0x01, 0x34, 0x12, 0x01, b'x', 0x2c, // 5: a group with a group in it
            0x30, 0x00, // 6: varint 0
        ];
        let expected = [
            Ok((1, Value::Number(150))),
            Ok((2, Value::Bytes(b"hi"))),
            Ok((3, Value::Other)),
            Ok((4, Value::Other)),
            Ok((5, Value::Other)),
            Ok((6, Value::Number(0))),
        ];
        assert_eq!(fields(&bytes), expected);
    }

    #[test]
    fn what_is_no_message_is_an_error_and_the_end() {
        let too_many_groups = [0x0b; MAX_GROUPS + 2];
        let cases: [&[u8]; 12] = [
            &[0x00],                                                          // field number 0
            &[0x08],                                                          // no value
            &[0x08, 0x80],                                                    // half a varint
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], // over 64 bits
            &[0x12, 0x03, b'h', b'i'],                                        // shorter than it says
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // longer than memory
            &[0x0b],                                                          // a group without end
            &[0x0b, 0x14],                                                    // another group's end
            &[0x13, 0x0c],                                                    // another group's end
            &[0x0c],                                                          // an end without group
            &[0x0e],                                                          // wire type 6
            &too_many_groups,
        ];
        for bytes in cases {
            assert_eq!(fields(bytes), [Err(Malformed)], "{bytes:?}");
        }
    }
}
