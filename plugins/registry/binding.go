package registry

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/chappe-relay/chappe/relay/channel"
	"github.com/chappe-relay/chappe/relay/policy"
)

// MaxBindings is how many patterns a host binds.
const MaxBindings = 10_000

// Binding says which version of a plugin the channels of a pattern go through.
// It is a value: a change makes another one, of a higher revision.
//
// A channel goes through the binding of the most specific pattern that matches
// it (Beats), and no other: there is one plugin per channel.
type Binding struct {
	Pattern  string    `json:"pattern"`
	Plugin   string    `json:"plugin"`            // name; "": nothing is bound any more, which other nodes need to know
	Stable   Digest    `json:"stable,omitzero"`   // zero: none, while a first version is a canary
	Canary   Digest    `json:"canary,omitzero"`   // zero: none
	Percent  int       `json:"percent,omitempty"` // of the channels that see the canary, 0 to 100
	Previous Digest    `json:"previous,omitzero"` // what a rollback returns to; zero: nothing
	Promoted time.Time `json:"promoted,omitzero"` // when Stable took its place
	Asked    time.Time `json:"asked,omitzero"`    // subscriptions admitted before that are asked anew
	Revision uint64    `json:"revision"`          // grows with each change of this pattern
	Origin   string    `json:"origin,omitempty"`  // node or region that made the change: breaks ties
}

// Digest is a policy.Digest that JSON shows as hexadecimal digits.
type Digest policy.Digest

// MarshalText writes 64 digits; nothing for the zero digest.
func (d Digest) MarshalText() ([]byte, error) {
	if d == (Digest{}) {
		return nil, nil
	}
	return hex.AppendEncode(nil, d[:]), nil
}

// UnmarshalText reads what MarshalText writes.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*d = Digest{}
		return nil
	}
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(d) {
		return fmt.Errorf("digest %.80q: 64 hexadecimal digits", text)
	}
	*d = Digest(raw)
	return nil
}

// String returns the first 12 digits, for people.
func (d Digest) String() string { return hex.EncodeToString(d[:6]) }

// IsZero reports whether it names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// Bound reports whether something is.
func (b *Binding) Bound() bool { return b.Plugin != "" }

// Newer reports whether b takes the place of old, wherever both were made: the
// higher revision, then the higher origin.
func (b *Binding) Newer(old *Binding) bool {
	return cmp.Or(cmp.Compare(b.Revision, old.Revision), cmp.Compare(b.Origin, old.Origin)) > 0
}

// For chooses the version for a channel; zero: none. The same channel sees the
// same version on every node, and a channel that sees the canary still does when
// Percent grows.
func (b *Binding) For(channel string) policy.Digest {
	if !b.Canary.IsZero() && (b.Percent >= 100 || b.Percent > 0 && share(channel) < b.Percent) {
		return policy.Digest(b.Canary)
	}
	return policy.Digest(b.Stable)
}

// share places a channel among 100 equal shares.
func share(channel string) int {
	h := fnv.New64a()
	h.Write([]byte(channel))
	x := h.Sum64()
	// FNV's low bits are weak for names that differ in one byte (splitmix64 finaliser).
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % 100)
}

// Digests are the versions that the binding may call for.
func (b *Binding) Digests() (out []policy.Digest) {
	for _, d := range []Digest{b.Stable, b.Canary} {
		if !d.IsZero() {
			out = append(out, policy.Digest(d))
		}
	}
	return out
}

// Uses reports whether the binding calls for a version, or would after a rollback.
func (b *Binding) Uses(d policy.Digest) bool {
	return b.Bound() && (b.Stable == Digest(d) || b.Canary == Digest(d) || b.Previous == Digest(d))
}

// Check reports what is wrong with a binding that came from elsewhere.
func Check(b *Binding) error {
	if _, err := channel.CheckPattern(b.Pattern); err != nil {
		return err
	}
	if b.Percent < 0 || b.Percent > 100 {
		return fmt.Errorf("binding %s: %d percent", b.Pattern, b.Percent)
	}
	return nil
}
