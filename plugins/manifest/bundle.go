package manifest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/policy"
)

// MaxWasm is the most bytes a module has.
const MaxWasm = 4 << 20

// Bundle is a version as it was uploaded: exact bytes, for they are what is
// signed. It is what nodes keep and give to each other.
type Bundle struct {
	Manifest  []byte // JSON
	Wasm      []byte
	Signature string // of package sign; "": unsigned
}

// magic begins the encoding of a bundle; its last byte is the format's version.
const magic = "chappe-plugin\x00\x01"

// Digest names the version: the SHA-256 of
//
//	"chappe-plugin" 00 01
//	u64 length of the manifest, manifest
//	u64 length of the module, module
//
// lengths big-endian. The manifest's text counts as it is: another spelling of
// the same object is another version. So there is no second reading of what was
// signed.
func (b *Bundle) Digest() policy.Digest {
	h := sha256.New()
	h.Write([]byte(magic))
	var n [8]byte
	for _, part := range [][]byte{b.Manifest, b.Wasm} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write(part)
	}
	return policy.Digest(h.Sum(nil))
}

const maxSignature = 256

// Encode writes the form that is kept and sent: the parts of Digest, then
//
//	u64 length of the signature, signature
//	SHA-256 of all before it
func (b *Bundle) Encode() []byte {
	out := make([]byte, 0, len(magic)+24+len(b.Manifest)+len(b.Wasm)+len(b.Signature)+sha256.Size)
	out = append(out, magic...)
	for _, part := range [][]byte{b.Manifest, b.Wasm, []byte(b.Signature)} {
		out = binary.BigEndian.AppendUint64(out, uint64(len(part)))
		out = append(out, part...)
	}
	sum := sha256.Sum256(out)
	return append(out, sum[:]...)
}

// Decode reads what Encode wrote. The parts alias raw.
func Decode(raw []byte) (*Bundle, error) {
	if len(raw) < len(magic)+sha256.Size || string(raw[:len(magic)]) != magic {
		return nil, errors.New("bundle: not a plugin bundle of this version")
	}
	body := raw[:len(raw)-sha256.Size]
	if sha256.Sum256(body) != [32]byte(raw[len(body):]) {
		return nil, errors.New("bundle: damaged: its checksum is wrong")
	}
	rest := body[len(magic):]
	var parts [3][]byte
	for i, most := range [3]uint64{MaxBytes, MaxWasm, maxSignature} {
		if len(rest) < 8 {
			return nil, errors.New("bundle: cut short")
		}
		n := binary.BigEndian.Uint64(rest)
		rest = rest[8:]
		if n > most || n > uint64(len(rest)) {
			return nil, fmt.Errorf("bundle: part %d is of %d bytes", i+1, n)
		}
		parts[i], rest = rest[:n:n], rest[n:]
	}
	if len(rest) > 0 {
		return nil, errors.New("bundle: something follows")
	}
	return &Bundle{Manifest: parts[0], Wasm: parts[1], Signature: string(parts[2])}, nil
}

// ParseDigest reads the 64 hexadecimal digits of a digest.
func ParseDigest(s string) (d policy.Digest, err error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != len(d) {
		return d, fmt.Errorf("digest %.80q: 64 hexadecimal digits", s)
	}
	return policy.Digest(raw), nil
}

// Hex writes a digest as its 64 digits; "" for the zero digest, which names none.
func Hex(d policy.Digest) string {
	if d == (policy.Digest{}) {
		return ""
	}
	return hex.EncodeToString(d[:])
}
