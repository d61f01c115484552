package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/policy"
)

// A pass says that plugins admitted one subscription of one client. It is what
// lets a client resume without asking a plugin (PROTOCOL §4.4). Its inside:
//
//	byte    1 layout
//	varint  issued          Unix milliseconds
//	16      whose           begin of SHA-256 over user, key and claims
//	string  channel or pattern
//	uvarint tags, each: 32 digest, 8 bits, 4 level, 4 group (big endian), string ext
const (
	passPrefix = "cp1."
	passLayout = 1
	whoseSize  = 16
	tagsSize   = 32 + 8 + 4 + 4
)

// whose identifies a client as plugins see it: with other claims, they are asked anew.
func whose(id *identity.Identity) []byte {
	h := sha256.New()
	for _, s := range []string{id.User, id.Key, id.Claims} {
		h.Write(appendString(nil, s))
	}
	return h.Sum(nil)[:whoseSize]
}

func (s *Sealer) sealPass(id *identity.Identity, name string, tags []policy.Tags) string {
	b := binary.AppendVarint([]byte{passLayout}, s.clock().UnixMilli())
	b = append(b, whose(id)...)
	b = appendString(b, name)
	b = binary.AppendUvarint(b, uint64(len(tags)))
	for i := range tags {
		t := &tags[i]
		b = append(b, t.Digest[:]...)
		b = binary.BigEndian.AppendUint64(b, t.Bits)
		b = binary.BigEndian.AppendUint32(b, t.Level)
		b = binary.BigEndian.AppendUint32(b, t.Group)
		b = appendString(b, string(t.Ext))
	}
	return s.wrap(passPrefix, b)
}

func (s *Sealer) openPass(pass string, id *identity.Identity, name string) (tags []policy.Tags, issued time.Time, ok bool) {
	plain, err := s.unwrap(passPrefix, pass)
	if err != nil {
		return nil, time.Time{}, false
	}
	in := reader{b: plain}
	layout := in.byte()
	issued = time.UnixMilli(in.varint())
	of := in.take(whoseSize)
	channel := in.string()
	tags = make([]policy.Tags, in.count(tagsSize))
	for i := range tags {
		t := &tags[i]
		copy(t.Digest[:], in.take(len(t.Digest)))
		if b := in.take(tagsSize - len(t.Digest)); b != nil {
			t.Bits, t.Level, t.Group = binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
		}
		t.Ext = []byte(in.string())
	}
	now := s.clock()
	switch {
	case layout != passLayout, in.short, len(in.b) > 0, channel != name, !bytes.Equal(of, whose(id)),
		issued.After(now.Add(maxSkew)), now.Sub(issued) >= MaxAge:
		return nil, time.Time{}, false
	}
	return tags, issued, true
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
