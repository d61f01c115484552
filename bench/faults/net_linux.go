package faults

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
)

// network is the namespaces, the bridge and the links.
type network struct {
	part  int // 10.part.0.0/16 is its own
	nodes int
	bad   error

	laid  pipe           // between nodes; nil: nothing
	doors []net.Listener // of its forwarders
}

// id begins the name of everything that it makes.
func (n *network) id() string { return fmt.Sprintf("chf%d", n.part) }

func (n *network) ns(i int) string { return fmt.Sprintf("%sn%d", n.id(), i) }

// client is where clients reach a node.
func (n *network) client(i int) string { return fmt.Sprintf("10.%d.0.%d", n.part, 11+i) }

// link is the address of node i on its link with j.
func (n *network) link(i, j int) string {
	a, b := min(i, j), max(i, j)
	last := 1
	if i > j {
		last = 2
	}
	return fmt.Sprintf("10.%d.%d.%d", n.part, a*16+b, last)
}

// mesh is where node j reaches the mesh of node i.
func (n *network) mesh(i, j int) string {
	if n.laid != nil {
		return fmt.Sprintf("127.0.0.1:%d", 7500+i)
	}
	return n.link(i, j) + ":7422"
}

func (n *network) iface(i, j int) string { return fmt.Sprintf("%s%d%d", n.id(), i, j) }

// ip runs the ip command; the first error stays.
func (n *network) ip(format string, args ...any) {
	if n.bad != nil {
		return
	}
	words := strings.Fields(fmt.Sprintf(format, args...))
	if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
		n.bad = fmt.Errorf("ip %s: %w: %s", strings.Join(words, " "), err, strings.TrimSpace(string(out)))
	}
}

// Networks of runs that go on at the same time are apart: each has a part of
// 10.0.0.0/8, and whose bridge of that name was made first has it.
const (
	firstPart = 64
	parts     = 128
)

// makeNetwork makes namespaces for nodes. The error says why it cannot.
func makeNetwork(nodes int) (*network, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("network namespaces need the ip command (Debian's iproute2)")
	}
	n := &network{nodes: nodes}
	for k, first := 0, rand.IntN(parts); ; k++ { // not the one before: what is deleted goes a moment later
		n.part, n.bad = firstPart+(first+k)%parts, nil
		if n.ip("link add %sb type bridge", n.id()); n.bad == nil {
			break
		}
		if k == parts {
			return nil, n.bad
		}
	}
	n.ip("addr add 10.%d.0.1/24 dev %sb", n.part, n.id())
	n.ip("link set %sb up", n.id())
	for i := range nodes {
		n.ip("netns add %s", n.ns(i))
		n.ip("link add %sc%d type veth peer name eth0 netns %s", n.id(), i, n.ns(i))
		n.ip("link set %sc%d master %sb", n.id(), i, n.id())
		n.ip("link set %sc%d up", n.id(), i)
		n.ip("-n %s addr add %s/24 dev eth0", n.ns(i), n.client(i))
		n.ip("-n %s link set eth0 up", n.ns(i))
		n.ip("-n %s link set lo up", n.ns(i))
	}
	for i := range nodes {
		for j := i + 1; j < nodes; j++ {
			n.ip("-n %s link add %s type veth peer name %s netns %s", n.ns(i), n.iface(i, j), n.iface(j, i), n.ns(j))
			for _, end := range [][2]int{{i, j}, {j, i}} {
				n.ip("-n %s addr add %s/30 dev %s", n.ns(end[0]), n.link(end[0], end[1]), n.iface(end[0], end[1]))
				n.ip("-n %s link set %s up", n.ns(end[0]), n.iface(end[0], end[1]))
			}
		}
	}
	if n.bad != nil {
		err := n.bad
		n.close()
		return nil, err
	}
	return n, nil
}

// cut takes the link between two nodes down.
func (n *network) cut(i, j int) { n.ip("-n %s link set %s down", n.ns(i), n.iface(i, j)) }

// join brings it up again.
func (n *network) join(i, j int) { n.ip("-n %s link set %s up", n.ns(i), n.iface(i, j)) }

// mute lets nothing of node i reach node j.
func (n *network) mute(i, j int) { n.ip("-n %s route add blackhole %s/32", n.ns(i), n.link(j, i)) }

func (n *network) unmute(i, j int) { n.ip("-n %s route del blackhole %s/32", n.ns(i), n.link(j, i)) }

// command is one that runs in a node's namespace.
func (n *network) command(i int, name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", n.ns(i), name}, args...)...)
}

// lose drops a share of the packets between regions, both ways, in percent; 0 ends
// it. The error says what is missing.
func (n *network) lose(percent int) error {
	nft, err := exec.LookPath("nft")
	if err != nil {
		return fmt.Errorf("losing packets needs the nft command (Debian's nftables)")
	}
	for i := range n.nodes {
		rules := "flush ruleset\n"
		if percent > 0 {
			rules += fmt.Sprintf("table ip f { chain in { type filter hook input priority 0; iifname \"%s*\" numgen random mod 100 < %d drop; }; }\n", n.id(), percent)
		}
		c := n.command(i, nft, "-f", "-")
		c.Stdin = strings.NewReader(rules)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
	}
	return nil
}

// slow limits what each node sends to others, in kbit/s; 0 ends it.
func (n *network) slow(kbit int) error {
	for i := range n.nodes {
		for j := range n.nodes {
			if i == j {
				continue
			}
			words := []string{"-n", n.ns(i), "qdisc", "del", "dev", n.iface(i, j), "root"}
			if kbit > 0 {
				rate := fmt.Sprintf("%dkbit", kbit)
				words = []string{"-n", n.ns(i), "qdisc", "replace", "dev", n.iface(i, j), "root", "tbf", "rate", rate, "burst", "16kb", "latency", "200ms"}
			}
			if out, err := exec.Command("tc", words...).CombinedOutput(); err != nil {
				return fmt.Errorf("tc: %w: %s", err, strings.TrimSpace(string(out)))
			}
		}
	}
	return nil
}

// close takes everything away.
func (n *network) close() {
	for _, l := range n.doors {
		l.Close()
	}
	for i := range n.nodes {
		exec.Command("ip", "netns", "del", n.ns(i)).Run()
	}
	exec.Command("ip", "link", "del", n.id()+"b").Run()
}
