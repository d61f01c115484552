package plugins

import (
	"slices"
	"strings"

	"github.com/chappe-relay/chappe/plugins/manifest"
	"github.com/chappe-relay/chappe/relay/policy"
)

// minPrefix is how many digits of a digest name a version at least.
const minPrefix = 6

// Find finds a version of a plugin by its digest or the first digits of it, at
// least 6. "" is the zero digest, which callers take as a default.
func (h *Host) Find(name, digits string) (policy.Digest, error) {
	if digits == "" {
		return policy.Digest{}, nil
	}
	if len(digits) < minPrefix {
		return policy.Digest{}, refuse(NotFound, "a version is named by at least %d digits of its digest", minPrefix)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var found policy.Digest
	n := 0
	for d, info := range h.infos {
		if info.Name == name && strings.HasPrefix(manifest.Hex(d), strings.ToLower(digits)) {
			found = d
			n++
		}
	}
	switch n {
	case 0:
		return policy.Digest{}, refuse(NotFound, "no version %.64s of %s is here", digits, name)
	case 1:
		return found, nil
	}
	return policy.Digest{}, refuse(Conflict, "%d versions of %s begin with %s", n, name, digits)
}

// Knows reports whether there is a version of a plugin, or was an upload of one
// that failed: there may be a log.
func (h *Host) Knows(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, info := range h.infos {
		if info.Name == name {
			return true
		}
	}
	return slices.ContainsFunc(h.failed, func(u upload) bool { return u.name == name })
}
