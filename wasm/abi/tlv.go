package abi

const (
	tagsLen  = 16 // bytes of tags before ext
	matchLen = 28
)

// AppendTLV appends one TLV (ABI §7).
func AppendTLV(dst []byte, kind uint16, value []byte) []byte {
	return append(head(dst, kind, len(value)), value...)
}

// AppendFanOut appends a fan-out: payload, to a channel of at most 65535 bytes.
func AppendFanOut(dst []byte, channel string, payload []byte) []byte {
	dst = head(dst, TLVFanOut, 2+len(channel)+len(payload))
	dst = le.AppendUint16(dst, uint16(len(channel)))
	return append(append(dst, channel...), payload...)
}

// AppendTags appends the tags of a subscription.
func AppendTags(dst []byte, t *Tags) []byte {
	dst = head(dst, TLVTags, tagsLen+len(t.Ext))
	dst = le.AppendUint64(dst, t.Bits)
	dst = le.AppendUint32(dst, t.Level)
	dst = le.AppendUint32(dst, t.Group)
	return append(dst, t.Ext...)
}

// AppendMatch appends a match.
func AppendMatch(dst []byte, m *Match) []byte {
	dst = head(dst, TLVMatch, matchLen)
	dst = le.AppendUint64(dst, m.Any)
	dst = le.AppendUint64(dst, m.All)
	dst = le.AppendUint64(dst, m.None)
	return le.AppendUint32(dst, m.Level)
}

func head(dst []byte, kind uint16, n int) []byte {
	dst = le.AppendUint16(dst, kind)
	dst = le.AppendUint16(dst, 0)
	return le.AppendUint32(dst, uint32(n))
}
