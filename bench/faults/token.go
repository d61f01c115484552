package faults

import (
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/auth"
)

// tokenSecret signs all tokens of a run.
const tokenSecret = "the secret that signs the tokens of a run"

// mint makes a token that lasts for a run.
func mint(user string, grants ...string) (string, error) {
	return auth.Mint(auth.Key{ID: "k", Algorithm: auth.HS256, Secret: []byte(tokenSecret)}, auth.Claims{
		User: user, Issued: time.Now(), Expires: time.Now().Add(3 * time.Hour),
		Grants: []auth.Grant{{Channels: grants, Actions: []string{"*"}}},
	})
}

// purse keeps tokens by what they allow.
type purse struct {
	mu     sync.Mutex
	tokens map[string]string
	bad    error
}

func (p *purse) token(grants ...string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := strings.Join(grants, " ")
	if t, ok := p.tokens[key]; ok {
		return t
	}
	t, err := mint("reader", grants...)
	if err != nil {
		p.bad = err
	}
	if p.tokens == nil {
		p.tokens = make(map[string]string)
	}
	p.tokens[key] = t
	return t
}
