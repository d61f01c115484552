package mesh

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chappe-relay/chappe/relay/node"
	"github.com/chappe-relay/chappe/relay/position"
)

// A third region joins two that run, by reload; what they say to each other
// meanwhile is not disturbed.
func TestReloadAddsARegion(t *testing.T) {
	keys := regionKeys{}
	ps := regions(t, keys, []string{"ap", "eu"}, direct)
	a, b := ps[0], ps[1]
	for _, p := range ps {
		p.follow("one.x")
	}
	a.publish("one.x", "1")
	check(t, b, "one.x", 1)
	cfg := a.mesh.cfg
	cfg.Peers = append(cfg.Peers, Peer{Region: "us", Key: keys.public(t, "us")})
	if err := a.mesh.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	cfg = b.mesh.cfg
	cfg.Peers = append(cfg.Peers, Peer{Region: "us", Key: keys.public(t, "us")})
	if err := b.mesh.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	c := launch(t, Config{Region: "us", Node: "n0", Key: keys.seed(t, "us"), Peers: []Peer{
		{Region: "ap", Key: keys.public(t, "ap"), URLs: []string{a.mesh.Addr()}},
		{Region: "eu", Key: keys.public(t, "eu"), URLs: []string{b.mesh.Addr()}},
	}})
	together(t, a, b, c)
	c.follow("one.x")
	a.publish("one.x", "2")
	b.publish("one.x", "3")
	c.publish("one.x", "4")
	for _, p := range []*peer{a, b, c} {
		check(t, p, "one.x", 4)
		if es := p.events(); len(es) > 0 {
			t.Errorf("%s: %+v", p.mesh.cfg.Region, es)
		}
	}
	// And one that solicits: a region with a smaller name appears.
	af := launch(t, Config{Region: "af", Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(t, "af"), Peers: []Peer{
		{Region: "us", Key: keys.public(t, "us")},
	}})
	cfg = c.mesh.cfg
	cfg.Peers = append(cfg.Peers, Peer{Region: "af", Key: keys.public(t, "af"), URLs: []string{af.mesh.Addr()}})
	if err := c.mesh.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	eventually(t, "us and af see each other", func() bool { return c.sees(4) && af.sees(2) })
	// A faulty one changes nothing.
	cfg.Peers = append(cfg.Peers, Peer{Region: "zz"})
	if err := c.mesh.Reload(cfg); err == nil {
		t.Error("a peer without a key is taken")
	}
	// And one that is taken away is gone.
	if err := c.mesh.Reload(Config{Peers: c.mesh.cfg.Peers, TLS: c.mesh.cfg.TLS}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link is gone", func() bool { return len(c.mesh.Links()) == 2 && len(af.mesh.leafs()) == 0 })
	// One that was let in is shut out.
	if err := a.mesh.Reload(Config{Peers: []Peer{{Region: "eu", Key: keys.public(t, "eu")}}, TLS: a.mesh.cfg.TLS}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "us is shut out of ap", func() bool { return len(a.mesh.leafs()) == 1 && c.mesh.Stats().Refused > 0 })
	c.publish("one.x", "5")
	b.publish("one.x", "6")
	check(t, b, "one.x", 6)
	check(t, a, "one.x", 5)
}

// Of a region that is no longer trusted nothing more is taken, whatever is under way.
func TestNothingIsTakenOfARegionThatIsShutOut(t *testing.T) {
	m := &Mesh{cfg: Config{Region: "eu", Node: "n1"}.filled(), sources: make(map[position.Origin]*source)}
	m.current.Store(&[]position.Origin{1})
	m.trusted.Store(&map[string]bool{"ap": true, "eu": true})
	if m.source("ap", 7) == nil {
		t.Fatal("a stranger is not known")
	}
	m.trusted.Store(&map[string]bool{"eu": true})
	if m.source("ap", 7) != nil {
		t.Error("it is known still")
	}
}

// Who has another key than the one that is known for its region is not let in.
func TestWrongKey(t *testing.T) {
	keys, wrong := regionKeys{}, regionKeys{}
	var here, there lines
	a := launch(t, Config{Region: "ap", Node: "n0", Listen: "127.0.0.1:0", Key: keys.seed(t, "ap"), Logger: here.logger(), Peers: []Peer{{Region: "eu", Key: keys.public(t, "eu")}}})
	b := launch(t, Config{Region: "eu", Node: "n0", Key: wrong.seed(t, "eu"), Logger: there.logger(), Peers: []Peer{{Region: "ap", Key: keys.public(t, "ap"), URLs: []string{a.mesh.Addr()}}}})
	eventually(t, "both count the refusal", func() bool { return a.mesh.Stats().Refused > 0 && b.mesh.Stats().Refused > 0 })
	eventually(t, "both say so", func() bool { return here.count(CodeRefused) > 0 && there.count(CodeRefused) > 0 })
	if l := a.mesh.leafs(); len(l) > 0 {
		t.Errorf("%+v", l)
	}
	if a.mesh.Stats().Received != 0 || len(b.mesh.Members()) != 1 {
		t.Error("something passed")
	}
	if l := b.mesh.Links(); len(l) != 1 || l[0].Up || l[0].Region != "ap" || !l[0].Solicited {
		t.Errorf("%+v", l)
	}
}

// With files as Init makes them: mutual TLS between and inside regions, and
// nobody else.
func TestSecured(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	sites := []Site{{Region: "ap"}, {Region: "eu", URLs: []string{"192.0.2.1:7422"}}}
	for _, d := range []string{dir, other} {
		if err := Init(d, sites); err != nil {
			t.Fatal(err)
		}
	}
	files := func(d, region string) TLS {
		return TLS{filepath.Join(d, region, CertFile), filepath.Join(d, region, CertKeyFile), filepath.Join(d, region, CAFile)}
	}
	keys := regionKeys{}
	for _, r := range []string{"ap", "eu"} {
		seed, err := os.ReadFile(filepath.Join(dir, r, SeedFile))
		if err != nil {
			t.Fatal(err)
		}
		keys[r] = strings.TrimSpace(string(seed))
	}
	a := launch(t, Config{Region: "ap", Node: "n0", Listen: "127.0.0.1:0", Key: keys["ap"], TLS: files(dir, "ap"), Peers: []Peer{{Region: "eu", Key: keys.public(t, "eu")}}})
	eu := Config{Region: "eu", Node: "n0", Route: "127.0.0.1:0", Key: keys["eu"], TLS: files(dir, "eu"), Peers: []Peer{{Region: "ap", Key: keys.public(t, "ap"), URLs: []string{a.mesh.Addr()}}}}
	b0 := launch(t, eu)
	eu.Node, eu.Routes = "n1", []string{b0.mesh.RouteAddr()}
	b1 := launch(t, eu)
	together(t, a, b0, b1)
	for _, p := range []*peer{a, b0, b1} {
		p.follow("one.x")
	}
	a.publish("one.x", "1")
	b1.publish("one.x", "2")
	for _, p := range []*peer{a, b0, b1} {
		check(t, p, "one.x", 2)
	}
	conn, err := tls.Dial("tcp", a.mesh.Addr(), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.2 is spoken")
	}
	// The right key with certificates of another authority, and the right
	// authority with the certificate of another region at the accepting end.
	t.Run("strangers", func(t *testing.T) {
		eu.Node, eu.Route, eu.Routes, eu.TLS = "n2", "", nil, files(other, "eu")
		c := launch(t, eu)
		eventually(t, "it is refused", func() bool { return c.mesh.Stats().Refused > 0 })
		posing := launch(t, Config{Region: "ap", Node: "n9", Listen: "127.0.0.1:0", Key: keys["ap"], TLS: files(dir, "eu"), Peers: a.mesh.cfg.Peers})
		eu.Node, eu.TLS = "n3", files(dir, "eu")
		eu.Peers = []Peer{{Region: "ap", Key: keys.public(t, "ap"), URLs: []string{posing.mesh.Addr()}}}
		d := launch(t, eu)
		eventually(t, "it is refused", func() bool { return d.mesh.Stats().Refused > 0 })
		if len(c.mesh.leafs())+len(d.mesh.leafs())+len(posing.mesh.leafs()) > 0 {
			t.Error("a link stands")
		}
	})
	// Certificates are read again without a restart.
	if err := a.mesh.Reload(a.mesh.cfg); err != nil {
		t.Error(err)
	}
	if err := b0.mesh.Reload(b0.mesh.cfg); err != nil {
		t.Error(err)
	}
	a.publish("one.x", "3")
	check(t, b1, "one.x", 3)
}

// A region cannot speak in the name of another, neither as subject nor as
// origin: the allow-list stops the one, the guard the other.
func TestGuard(t *testing.T) {
	var said lines
	ps := regions(t, regionKeys{}, []string{"ap", "eu", "us"}, direct, func(c *Config, _ *node.Config) {
		if c.Region == "ap" {
			c.Logger = said.logger()
		}
	})
	for _, p := range ps {
		p.follow("one.x")
	}
	a, b, c := ps[0], ps[1], ps[2]
	m := someMessage("one.x", false)
	m.Stamp.Origin, m.SSeq = b.node.Self(), 1
	packet := putMessage(putHeader(nil, kindMessage, m.Stamp.Origin), &m)
	post := func(subject string, packet []byte) {
		t.Helper()
		if err := c.mesh.pub.Publish(subject, packet); err != nil {
			t.Fatal(err)
		}
	}
	before := a.mesh.Stats().Received
	post(shardSubject("eu", classEphemeral, m.Shard), packet) // stopped on the link
	post(shardSubject("us", classEphemeral, m.Shard), packet)
	eventually(t, "the guard counts it", func() bool { return a.mesh.Stats().Foreign == 1 && b.mesh.Stats().Foreign == 1 })
	post(allSubject("us"), []byte{version + 1, byte(kindMark), 0, 0, 0, 0, 0, 0, 0, 0})
	post(allSubject("us"), putHeader(nil, kindMark, c.node.Self()))
	post(allSubject("us"), []byte{version + 1, byte(kindMark), 0, 0, 0, 0, 0, 0, 0, 0})
	eventually(t, "unreadable packets are counted", func() bool { return a.mesh.Stats().Versions == 2 && a.mesh.Stats().Malformed == 1 })
	if said.count("code="+CodeVersion+" region=us") != 1 || said.count("code="+CodeMalformed+" region=us") != 1 {
		t.Errorf("each is said once: %s", said.b.String())
	}
	c.publish("one.x", "real")
	check(t, a, "one.x", 1)
	check(t, b, "one.x", 1)
	if s := a.mesh.Stats(); s.Foreign != 1 || s.Received == before {
		t.Errorf("%+v", s)
	}
}

// A shard is left only when nobody came back to it for a while.
func TestShardsAreLeftLate(t *testing.T) {
	p := launch(t, Config{Region: "ap", Node: "n0", Key: regionKeys{}.seed(t, "ap")}, func(c *Config, _ *node.Config) { c.Linger = 10 * time.Millisecond })
	p.mesh.Attach(1)
	p.mesh.Attach(2)
	p.mesh.Attach(2)
	eventually(t, "both are attached", func() bool { return p.mesh.Stats().Shards == 2 })
	p.mesh.Detach(1)
	p.mesh.Detach(2)
	p.mesh.Attach(2)
	eventually(t, "one is left", func() bool { return p.mesh.Stats().Shards == 1 })
	i := p.mesh.interest
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.shards[2] == nil || i.shards[1] != nil {
		t.Error("the wrong one was left")
	}
}

// Two who sit in the same region with nobody else need no other region.
func TestOneRegion(t *testing.T) {
	keys := regionKeys{}
	cfg := Config{Region: "ap", Node: "n0", Route: "127.0.0.1:0", Key: keys.seed(t, "ap")}
	a := launch(t, cfg)
	cfg.Node, cfg.Routes = "n1", []string{a.mesh.RouteAddr()}
	b := launch(t, cfg)
	together(t, a, b)
	a.follow("one.x")
	b.follow("one.x")
	a.publish("one.x", "1")
	b.publish("one.x", "2")
	check(t, a, "one.x", 2)
	check(t, b, "one.x", 2)
	// A stranger without the region's key is no node of it.
	cfg.Key, cfg.Node = regionKeys{}.seed(t, "ap"), "n2"
	c := launch(t, cfg)
	eventually(t, "it is refused", func() bool { return a.mesh.Stats().Refused > 0 })
	if len(c.mesh.Members()) != 1 || !a.sees(2) {
		t.Error("a stranger is a member")
	}
}

// The watchdog makes a link again on which nothing comes.
func TestWatchdog(t *testing.T) {
	ps := regions(t, regionKeys{}, []string{"ap", "eu"}, direct)
	for _, p := range ps { // as if nothing had been heard for long
		name := map[*peer]string{ps[0]: "eu", ps[1]: "ap"}[p]
		now := time.Now()
		eventually(t, "the watchdog has seen the link", func() bool {
			p.mesh.mu.Lock()
			defer p.mesh.mu.Unlock()
			w := p.mesh.watch[name]
			return w != nil && w.down.IsZero()
		})
		p.mesh.look(now.Add(time.Hour))
		eventually(t, "it acts", func() bool { return p.mesh.Stats().Recreated > 0 })
		eventually(t, "the link stands", func() bool { return len(ps[0].mesh.leafs()) == 1 && len(ps[1].mesh.leafs()) == 1 })
	}
	for _, p := range ps {
		p.follow("one.x")
	}
	ps[0].publish("one.x", "1")
	check(t, ps[1], "one.x", 1)
}

func TestInitIsRepeatable(t *testing.T) {
	dir := t.TempDir()
	if err := Init(dir, []Site{{Region: "ap"}}); err != nil {
		t.Fatal(err)
	}
	read := func(parts ...string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(append([]string{dir}, parts...)...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	seed, cert, ca := read("ap", SeedFile), read("ap", CertFile), read(CAFile)
	if err := Init(dir, []Site{{Region: "ap", URLs: []string{"ap.example:7422"}}, {Region: "eu"}}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(seed, read("ap", SeedFile)) || !bytes.Equal(cert, read("ap", CertFile)) || !bytes.Equal(ca, read("eu", CAFile)) {
		t.Error("a second run made something anew")
	}
	for _, want := range []string{"region: eu", "    ap:\n", `"ap.example:7422"`, "key_file: region.seed"} {
		if !bytes.Contains(read("eu", FragmentFile), []byte(want)) {
			t.Errorf("no %q in\n%s", want, read("eu", FragmentFile))
		}
	}
	for _, secret := range []string{CAKeyFile, "ap/" + SeedFile, "ap/" + CertKeyFile} {
		info, err := os.Stat(filepath.Join(dir, secret))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", secret, info.Mode(), err)
		}
	}
	if bytes.Contains(read("eu", FragmentFile), bytes.TrimSpace(read("eu", SeedFile))) {
		t.Error("the fragment shows the seed")
	}
	for _, bad := range [][]Site{{{Region: "A"}}, {{Region: "a"}, {Region: "a"}}} {
		if Init(dir, bad) == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

func TestSourcesAreBounded(t *testing.T) {
	m := &Mesh{cfg: Config{Region: "ap"}, sources: make(map[position.Origin]*source)}
	m.current.Store(&[]position.Origin{1})
	m.trusted.Store(&map[string]bool{"eu": true})
	for o := range position.Origin(2 * maxSources) {
		m.source("eu", o+2)
	}
	if len(m.sources) > maxSources {
		t.Errorf("%d sources", len(m.sources))
	}
	if m.source("eu", 1) != nil || m.source("eu", 0) != nil || m.source("us", 5) != nil {
		t.Error("the guard lets a stranger in")
	}
	for _, s := range m.sources {
		s.heard = time.Now().Add(-time.Hour)
	}
	m.forgot = time.Time{}
	if m.source("eu", 1<<40) == nil {
		t.Error("silent ones are not forgotten")
	}
}

// A network that delivers each byte in a packet of its own breaks nothing.
func TestSlicedToBytes(t *testing.T) {
	var proxies []*proxy
	ps := regions(t, regionKeys{}, []string{"ap", "eu"}, func(_, _, address string) string {
		px := newProxy(t, address)
		px.bytes.Store(true)
		proxies = append(proxies, px)
		return px.address()
	})
	for _, p := range ps {
		p.follow("one.x")
	}
	for i := range 200 {
		ps[i%2].publish("one.x", fmt.Sprint(i, " ", strings.Repeat("x", 200)))
	}
	for _, p := range ps {
		check(t, p, "one.x", 200)
		if es := p.events(); len(es) > 0 {
			t.Errorf("%s: %+v", p.mesh.cfg.Region, es)
		}
	}
	if proxies[0].passed.Load() < 200*200 {
		t.Errorf("only %d bytes went through", proxies[0].passed.Load())
	}
}
