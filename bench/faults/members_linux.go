package faults

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	chappe "github.com/chappe-relay/chappe/sdk/go"
)

// room is where they are.
const room = "people.room"

// members are clients of the SDK that are somewhere, and one at each node that is
// told who comes and goes.
type members struct {
	c      *cluster
	http   *http.Client
	token  string
	users  []string
	stop   context.CancelFunc
	all    []*chappe.Client
	work   sync.WaitGroup
	mu     sync.Mutex
	told   map[string]int // "leave u1" and how often, over all watchers, since begin
	double map[string]int // who was listed twice
	lists  int
	log    *os.File // each thing that was told, for whoever looks into a failure
}

func newMembers(ctx context.Context, c *cluster, n int) (*members, error) {
	ctx, cancel := context.WithCancel(ctx)
	m := &members{c: c, http: c.quick(), stop: cancel, told: make(map[string]int), double: make(map[string]int)}
	var err error
	if m.log, err = os.Create(filepath.Join(c.dir, "presence.log")); err != nil {
		return nil, err
	}
	if n == 0 {
		return m, nil
	}
	for i := range n + len(regionOf) {
		user := fmt.Sprintf("u%d", i)
		token, err := mint(user, room)
		if err != nil {
			return nil, err
		}
		m.token = cmp.Or(m.token, token)
		var urls []string
		for _, d := range c.doors() {
			urls = append(urls, d.url)
		}
		urls = slices.Concat(urls[i%len(urls):], urls[:i%len(urls)])
		client := chappe.New(urls[0], chappe.Options{Token: token, Regions: urls[1:], InOrder: true, Transport: "ws", TLS: c.trust, OnState: func(st chappe.State) {
			fmt.Fprintf(m.log, "%s %s: %s at %s (%v)\n", time.Now().Format("05.000"), user, st.Phase, st.URL, st.Err)
		}})
		m.users, m.all = append(m.users, user), append(m.all, client)
		sub, err := client.Subscribe(ctx, room, chappe.SubOptions{Presence: i >= n})
		if err != nil {
			return nil, fmt.Errorf("member %s: %w", user, err)
		}
		m.work.Go(func() {
			for e := range sub.Events() {
				if p, ok := e.(*chappe.PresenceChange); ok {
					m.mu.Lock()
					for _, who := range p.Members {
						m.told[p.Action+" "+who.User]++
						fmt.Fprintf(m.log, "%s %s is told %s %s\n", time.Now().Format("05.000"), user, p.Action, who.User)
					}
					m.mu.Unlock()
				}
			}
		})
	}
	slices.Sort(m.users)
	m.work.Go(func() {
		for ctx.Err() == nil {
			for i := range regionOf {
				m.look(i)
			}
			sleep(ctx, 300*time.Millisecond)
		}
	})
	return m, nil
}

// look asks a node who is there: sorted, with a mark for those that are away.
func (m *members) look(i int) (who []string, err error) {
	req, err := http.NewRequest("GET", m.c.url(i)+"/v1/channels/"+room+"/presence", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+m.token)
	res, err := m.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var a struct {
		Members []struct{ User, State string }
	}
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil || res.StatusCode != 200 {
		return nil, fmt.Errorf("%s: %w", res.Status, err)
	}
	seen := map[string]int{}
	for _, x := range a.Members {
		seen[x.User]++
		who = append(who, strings.TrimSpace(x.User+" "+x.State))
	}
	slices.Sort(who)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lists++
	for user, n := range seen {
		if n > 1 {
			m.double[user]++
		}
	}
	return who, nil
}

// begin forgets what was told while all came.
func (m *members) begin() {
	m.mu.Lock()
	clear(m.told)
	m.mu.Unlock()
}

// judge is for when all has been well for a while. Where no node was silent for
// long, nobody has left, however many have moved. That one has come may be told, by
// a node that has just started: it never heard of those who are away.
func (m *members) judge(apart bool) (p Presence) {
	if m.users == nil {
		return p
	}
	for i := range regionOf {
		who, err := m.look(i)
		if err != nil || !slices.Equal(who, m.users) {
			p.Wrong = append(p.Wrong, fmt.Sprintf("node %d lists %v (%v), there are %v", i, who, err, m.users))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p.Lists = m.lists
	for what, n := range m.told {
		switch action, _, _ := strings.Cut(what, " "); action {
		case "leave":
			p.Leaves += n
		case "join":
			p.Joins += n
		}
	}
	for user, n := range m.double {
		p.Wrong = append(p.Wrong, fmt.Sprintf("%s was listed twice, %d times", user, n))
	}
	if !apart && p.Leaves > 0 {
		p.Wrong = append(p.Wrong, fmt.Sprintf("members that only moved were told to have left: %v", m.told))
	}
	return p
}

func (m *members) close() {
	m.stop()
	var end sync.WaitGroup
	for _, c := range m.all {
		end.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			c.Close(ctx)
		})
	}
	end.Wait()
	m.work.Wait()
	m.log.Close()
}
