package mesh

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/chappe-relay/chappe/relay/position"
)

// What is a region's alone goes over its routes. But links bring whatever a region
// says to each region that asks for it, and a region that accepts links can speak for
// those that make them. So it is sealed, with keys that only the region's nodes can
// make; and as what is recorded can be sent again, it has a number that only rises.

// errForged is of what is sealed with another key, was sent to somebody else, or is
// sent again.
var errForged = errors.New("not a word between nodes of this region")

// secrets is how far the numbers have come.
type secrets struct {
	told  uint64                     // guarded by out.mu
	heard map[position.Origin]uint64 // owned by receive; who has no key makes no entry
}

// Confide tells a node of this region what nobody else may read or say. It is sent
// once and may be lost. It never blocks; false means dropped.
func (m *Mesh) Confide(origin position.Origin, topic string, body []byte) bool {
	return m.post(sendTo, origin, kindSecret, func(b []byte) []byte {
		head := b[len(b)-headerLen:]
		_, from, _, _ := header(head)
		m.secrets.told++
		plain := put64(putOrigin(nil, origin), m.secrets.told)
		plain = append(putBytes(plain, topic), body...)
		return m.cfg.seal(from).Seal(b, nil, plain, head)
	})
}

// seal is what one node, in one life, says secrets with: a key is used for no more
// than a life, which is what random nonces of 96 bits are good for.
func (c *Config) seal(from position.Origin) cipher.AEAD {
	mac := hmac.New(sha256.New, []byte(c.Key))
	mac.Write(putOrigin([]byte("chappe secret "+c.Region+" "), from))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // a key of 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // a block of 16 bytes
	}
	return aead
}

// secret opens what another node confided, and hands it on.
func (m *Mesh) secret(region string, from position.Origin, packet []byte) error {
	if region != m.cfg.Region {
		return errForged
	}
	plain, err := m.cfg.seal(from).Open(nil, nil, packet[headerLen:], packet[:headerLen])
	if err != nil {
		return errForged
	}
	r := reader{b: plain}
	to, n, topic := r.origin(), r.uint64(), string(r.bytes())
	switch {
	case r.err != nil:
		return fmt.Errorf("secret: %w", r.err)
	case !m.isSelf(to) || n <= m.secrets.heard[from]:
		return errForged
	}
	m.secrets.heard[from] = n
	if who, ok := m.members.find(from); ok && who.Region == region && m.cfg.OnSecret != nil {
		m.cfg.OnSecret(who, topic, r.b)
	}
	return nil
}
