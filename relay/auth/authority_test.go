package auth

import (
	"sync"
	"testing"

	"github.com/chappe-relay/chappe/relay/identity"
	"github.com/chappe-relay/chappe/relay/wire"
)

func TestAuthoritySealsAndOpens(t *testing.T) {
	s, err := NewSealer(Config{Clock: at(epoch)})
	if err != nil {
		t.Fatal(err)
	}
	a := NewAuthority(newVerifier(t, nil), s)
	id, werr := a.Verify(sign(t, okKey, nil, claimsWith(nil)))
	if werr != nil {
		t.Fatal(werr)
	}
	session, back, werr := a.Open(a.Seal("s1", id))
	if werr != nil || session != "s1" || back.User != "ada" || !a.Allows(back, nil, identity.Publish, "rides.1") {
		t.Errorf("%q, %+v, %+v", session, back, werr)
	}
	if _, id, werr := a.Open("ct1.x"); werr == nil || werr.Code != wire.CodeBadToken || id != nil {
		t.Errorf("%v, %+v", id, werr)
	}
	if id, werr := a.Verify("x"); werr == nil || werr.Code != wire.CodeBadToken || id != nil {
		t.Errorf("%v, %+v", id, werr)
	}
	if a.Seal("s", nil) != "" || a.Seal("s", a.Anonymous(true)) != "" {
		t.Error("nobody got a ticket")
	}
}

// Keys change under load without a false refusal, and the old ones are dead when
// Replace returns.
func TestKeysAreReplacedUnderLoad(t *testing.T) {
	sealer, _ := NewSealer(Config{Clock: at(epoch)})
	first, second := edKey("1"), edKey("2")
	with := func(keys ...Key) *Verifier {
		return newVerifier(t, func(c *Config) { c.Keys = keys })
	}
	a := NewAuthority(with(publicOnly(first)), sealer)
	old := sign(t, first, object{"kid": "1"}, claimsWith(nil))
	fresh := sign(t, second, object{"kid": "2"}, claimsWith(nil))
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if _, err := a.Verify(old); err != nil {
						t.Errorf("refused: %v", err.Text)
						return
					}
				}
			}
		})
	}
	for range 200 {
		a.Replace(with(publicOnly(second), publicOnly(first)), sealer)
		if _, err := a.Verify(fresh); err != nil {
			t.Fatal(err.Text)
		}
		a.Replace(with(publicOnly(first)), sealer)
		if _, err := a.Verify(fresh); err == nil {
			t.Fatal("a removed key still verifies")
		}
	}
	close(stop)
	all.Wait()
}
