package auth

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/relay/identity"
)

const (
	maxKeys       = 32 // a token without a kid is tried with each of its algorithm
	maxAPIKeys    = 4096
	maxSecrets    = 8
	defaultLeeway = 5 * time.Second
	maxLeeway     = 5 * time.Minute // more is not clock skew
)

// Config says whom to believe. The zero value believes nobody: all clients are
// anonymous.
type Config struct {
	Keys     []Key    // for tokens; at most 32
	APIKeys  []APIKey // for back ends
	Dev      bool     // dev mode: short secrets and the development key are taken, and anonymous clients on loopback may do all
	Secret   []byte   `json:"-"` // seals resume tickets; the same on all nodes. Empty: random, so that tickets end with the process
	Retired  [][]byte `json:"-"` // earlier secrets, whose tickets still open
	Issuer   string   // iss that tokens must have; "": not checked
	Audience string   // one aud that tokens must have; "": not checked
	Claims   bool     // keep a token's further claims with the identity, for plugins
	// TicketAge is the oldest resume ticket that is taken now: less than MaxAge while
	// the node may have missed a revocation. nil: MaxAge.
	TicketAge func() time.Duration `json:"-"`
	Leeway    time.Duration        // for differing clocks, on exp, nbf and iat; 0: 5 s
	Clock     func() time.Time     // nil: time.Now
}

// Format prints how much is configured and no secret, for every verb.
func (c Config) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "auth: %d keys, %d API keys, dev %t", len(c.Keys), len(c.APIKeys), c.Dev)
}

// Validate returns all faults, joined, each with the path of its key in the
// configuration: "auth.keys[1].algorithm: …". It never prints a secret.
func (c Config) Validate() error {
	_, err := c.compile()
	return err
}

// compiled is a Config ready for use.
type compiled struct {
	keys []compiledKey
	api  []apiEntry
}

type compiledKey struct {
	id        string
	algorithm string
	key       any // []byte, *ecdsa.PublicKey or ed25519.PublicKey, as the algorithm says
	dev       bool
}

func (c *Config) compile() (compiled, error) {
	var out compiled
	var faults []error
	report := func(path string, err error) { faults = append(faults, fmt.Errorf("auth.%s: %w", path, err)) }

	if len(c.Keys) > maxKeys {
		report("keys", fmt.Errorf("more than %d", maxKeys))
	}
	ids := make(map[string]int)
	for i := range c.Keys {
		k := &c.Keys[i]
		path := fmt.Sprintf("keys[%d]", i)
		if first, ok := ids[k.ID]; ok && k.ID != "" {
			// Two keys of one id: which of two issuers signed would be a
			// matter of order.
			report(path+".id", fmt.Errorf("the same as that of keys[%d]", first))
		} else {
			ids[k.ID] = i
		}
		key, bad := k.verifying(c.Dev)
		if bad != nil {
			report(join(path, bad.field), bad.err)
			continue
		}
		out.keys = append(out.keys, compiledKey{id: k.ID, algorithm: k.Algorithm, key: key, dev: k.dev})
	}
	out.api = c.compileAPIKeys(report)
	c.checkRest(report)
	return out, errors.Join(faults...)
}

func (c *Config) compileAPIKeys(report func(string, error)) (out []apiEntry) {
	if len(c.APIKeys) > maxAPIKeys {
		report("api_keys", fmt.Errorf("more than %d", maxAPIKeys))
	}
	names, digests := make(map[string]int), make(map[[sha256.Size]byte]int)
	for i := range c.APIKeys {
		k := &c.APIKeys[i]
		path := fmt.Sprintf("api_keys[%d]", i)
		switch first, ok := names[k.Name]; {
		case k.Name == "":
			report(path+".name", errors.New("missing"))
		case len(k.Name) > maxUser || !printable(k.Name):
			report(path+".name", fmt.Errorf("longer than %d bytes, or with control characters", maxUser))
		case ok:
			report(path+".name", fmt.Errorf("the same as that of api_keys[%d]", first))
		default:
			names[k.Name] = i
		}
		if len(k.Grants) == 0 {
			report(path+".grants", errors.New("missing"))
		}
		grants := compile(k.Grants, func(at, text string) bool {
			report(path+".grants"+at, errors.New(text))
			return true
		})
		sum, bad := k.digest()
		if bad != nil {
			report(join(path, bad.field), bad.err)
			continue
		}
		if first, ok := digests[sum]; ok {
			report(path+".key", fmt.Errorf("the same as that of api_keys[%d]", first))
			continue
		}
		digests[sum] = i
		out = append(out, apiEntry{digest: sum, who: &identity.Identity{Key: k.Name, Grants: grants, Backend: true}})
	}
	return out
}

func (c *Config) checkRest(report func(string, error)) {
	if len(c.Secret) > 0 && len(c.Secret) < minSecret {
		report("secret", fmt.Errorf("%d bytes; at least %d are needed", len(c.Secret), minSecret))
	}
	if len(c.Retired) > maxSecrets-1 {
		report("retired", fmt.Errorf("more than %d", maxSecrets-1))
	}
	for i, s := range c.Retired {
		if len(s) < minSecret {
			report(fmt.Sprintf("retired[%d]", i), fmt.Errorf("%d bytes; at least %d are needed", len(s), minSecret))
		}
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		report("leeway", fmt.Errorf("%v is not between 0 and %v", c.Leeway, maxLeeway))
	}
}

func join(path, field string) string {
	if field == "" {
		return path
	}
	return path + "." + field
}
