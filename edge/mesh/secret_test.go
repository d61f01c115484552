package mesh

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
)

// What a node confides to another of its region is read by that one, once, and by no
// other region, though links bring it there; and nobody else can say it.
func TestSecretsAreTheRegionsAlone(t *testing.T) {
	keys := regionKeys{}
	var said lines
	heard, open := make(chan string, 10), make(chan string, 10)
	cfg := func(node string, routes ...string) Config {
		return Config{Region: "ap", Node: node, Listen: "127.0.0.1:0", Route: "127.0.0.1:0", Routes: routes, Key: keys.seed(t, "ap"),
			Peers: []Peer{{Region: "eu", Key: keys.public(t, "eu")}}}
	}
	a := launch(t, cfg("n1"))
	two := cfg("n2", a.mesh.RouteAddr())
	two.OnSecret = func(from Member, topic string, body []byte) {
		heard <- fmt.Sprintf("%s.%s %s %s", from.Region, from.Node, topic, body)
	}
	two.OnNote = func(_ Member, topic string, _ []byte) { open <- topic }
	two.Logger = said.logger()
	b := launch(t, two)
	abroad := launch(t, Config{Region: "eu", Node: "n1", Key: keys.seed(t, "eu"),
		Peers: []Peer{{Region: "ap", Key: keys.public(t, "ap"), URLs: []string{a.mesh.Addr()}}}})
	together(t, a, b, abroad)

	// Region eu's key is enough to hear what is said within ap.
	overheard := make(chan *nats.Msg, 100)
	if _, err := abroad.mesh.sub.ChanSubscribe(toSubject("ap", b.mesh.self()), overheard); err != nil {
		t.Fatal(err)
	}
	var packet *nats.Msg
	for n := 0; packet == nil; n++ { // until the interest is known at a
		a.mesh.Confide(b.mesh.self(), "keys", fmt.Appendf(nil, "the key %d", n))
		if got, want := <-heard, fmt.Sprintf("ap.n1 keys the key %d", n); got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		for more := true; more; {
			select {
			case msg := <-overheard:
				if kind(msg.Data[1]) == kindSecret {
					packet = msg
				}
			default:
				more = false
			}
		}
	}
	if bytes.Contains(packet.Data, []byte("key")) {
		t.Errorf("read in region eu: %q", packet.Data)
	}

	// What comes over a link may have been made by who accepts it: none of this is
	// taken. It is sent by way of the route, which b does not tell from a link.
	from, to := a.mesh.self(), b.mesh.self()
	head := putHeader(nil, kindSecret, from)
	plain := putBytes(put64(putOrigin(nil, to), 1<<40), "keys")
	elsewhere := putBytes(put64(putOrigin(nil, from), 1<<40), "keys")
	stranger := Config{Region: "ap", Key: keys.seed(t, "eu")}
	changed := bytes.Clone(packet.Data)
	changed[len(changed)-1]++
	forged := map[string][]byte{
		"again":             packet.Data,
		"changed":           changed,
		"to another":        a.mesh.cfg.seal(from).Seal(head, nil, elsewhere, head),
		"by another key":    stranger.seal(from).Seal(head, nil, plain, head),
		"of another sender": a.mesh.cfg.seal(to).Seal(head, nil, plain, head),
		"short":             head,
	}
	for name, data := range forged {
		before := b.mesh.Stats().Forged
		if err := a.mesh.pub.Publish(toSubject("ap", to), bytes.Clone(data)); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is counted", func() bool { return b.mesh.Stats().Forged == before+1 })
	}
	abroad.mesh.Confide(to, "keys", []byte("from abroad"))
	eventually(t, "what another region confides is counted", func() bool { return b.mesh.Stats().Forged == uint64(len(forged)+1) })
	a.mesh.NoteTo(to, "keys", []byte("in the open"))
	<-open
	a.mesh.Confide(to, "keys", []byte("last"))
	if got := <-heard; got != "ap.n1 keys last" {
		t.Errorf("heard %s", got)
	}
	if n := said.count(CodeForged); n != 2 {
		t.Errorf("%d lines of the log", n) // of each region one
	}
}
