package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chappe-relay/chappe/relay/wire"
	chappe "github.com/chappe-relay/chappe/sdk/go"
)

var subCommand = command{
	name:  "sub",
	brief: "subscribe",
	usage: `NAME
    chappe sub - subscribe

USAGE
    chappe sub [FLAGS] CHANNEL...

DESCRIPTION
    Follows channels and patterns (rides.*, rides.>) and prints each message on
    a line of stdout, until Ctrl-C. A connection that is lost comes back and
    continues where it was, at the next relay where several are given and this
    one is gone; the way back is taken minutes later. What the relay no longer
    has, and every change of the connection, is told on stderr; at the end, also
    there, the cursors with which another chappe sub continues, at any relay,
    over any transport.

FLAGS
` + urlPage + `    -token TOKEN        a token or API key, else $CHAPPE_TOKEN, which other
                        users of this machine cannot see
    -insecure           believe any certificate, as of chappe dev -tls
    -transport NAME     ws, wt (WebTransport), sse or poll. If not given ws, and
                        wt in its place when the relay has it and UDP passes
    -format FORM        of frames with -transport ws and wt: bin or json
    -cursor CURSOR      continue after it; CHANNEL=CURSOR for one of several
                        channels, and then it may be repeated
    -last N             begin with the newest N messages that are kept
    -policy POLICY      when this reader is overrun: resume, latest, conflate or
                        close; as the namespace says if not given
    -presence           print who comes and goes
    -count N            end after N messages
    -o FORM             text: the channel, a space, and the payload, in quotes
                        with escapes if it holds control characters; json: the
                        frame as the protocol has it. text if not given

EXAMPLES
    $ chappe sub rides.42
    $ chappe sub -o json -transport sse -last 10 'rides.>'
    $ chappe sub -url https://eu.example,https://us.example rides.42`,
	setup: func(f *flags) func(*env, []string) error {
		s := &subFlags{client: newClientFlags(f), flags: f}
		s.cursors, s.policy, s.out = f.list("cursor"), f.String("policy", "", ""), f.String("o", "text", "")
		s.last, s.count = f.Int("last", 0, ""), f.Int("count", 0, "")
		s.presence = f.Bool("presence", false, "")
		return s.run
	},
}

type subFlags struct {
	client      clientFlags
	flags       *flags
	cursors     *words
	policy, out *string
	last, count *int
	presence    *bool
}

// check refuses what the flags cannot mean.
func (s *subFlags) check(args []string) error {
	if len(args) == 0 {
		return wrong("which channel? chappe sub CHANNEL...")
	}
	policies := []string{"resume", "latest", "conflate", "close"}
	if *s.policy != "" && !slices.Contains(policies, *s.policy) {
		return unknown("value of -policy", *s.policy, policies, "want "+strings.Join(policies, ", "))
	}
	if *s.out != "text" && *s.out != "json" {
		return unknown("value of -o", *s.out, []string{"text", "json"}, "want text or json")
	}
	if *s.last < 0 || *s.count < 0 || s.flags.given("count") && *s.count == 0 {
		return wrong("-last and -count are numbers from 1")
	}
	if *s.last > 0 && len(*s.cursors) > 0 {
		return wrong("-cursor and -last both say where to begin; give one")
	}
	return nil
}

// places finds the cursor of each channel.
func (s *subFlags) places(channels []string) (map[string]string, error) {
	out := make(map[string]string)
	for _, c := range *s.cursors {
		if name, cursor, ok := strings.Cut(c, "="); ok {
			if !slices.Contains(channels, name) {
				return nil, unknown("channel in -cursor", name, channels, "it is none of those given")
			}
			out[name] = cursor
			continue
		}
		for _, name := range channels {
			out[name] = c
		}
	}
	return out, nil
}

func (s *subFlags) run(e *env, args []string) error {
	if err := s.check(args); err != nil {
		return err
	}
	channels := slices.Compact(slices.Sorted(slices.Values(args)))
	places, err := s.places(channels)
	if err != nil {
		return err
	}
	url, o, err := s.client.options(e)
	if err != nil {
		return err
	}
	ctx, stop := interrupts(e.ctx, nil)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := &printer{e: e, json: *s.out == "json", left: *s.count, enough: cancel, cursors: make(map[string]string)}

	// Over sse and poll one client asks with one cursor for all its channels, so
	// that each gets a client of its own.
	shared := o.Transport == "" || o.Transport == "ws" || o.Transport == "wt"
	var clients []*chappe.Client
	var all sync.WaitGroup
	failed := make(chan error, len(channels))
	for i, name := range channels {
		if i == 0 || !shared {
			o.OnState = p.states()
			clients = append(clients, chappe.New(url, o))
		}
		c := clients[len(clients)-1]
		all.Go(func() {
			defer cancel() // one that ends ends all
			if err := p.follow(ctx, c, name, chappe.SubOptions{
				Cursor: places[name], Last: *s.last, Policy: *s.policy, Presence: *s.presence,
			}); err != nil {
				failed <- errors.New(name + ": " + oneLine(err))
			}
		})
	}
	all.Wait()
	p.end()
	for _, c := range clients {
		bye, done := context.WithTimeout(context.Background(), time.Second)
		c.Close(bye) // its error is among those told
		done()
	}
	p.resume(channels)
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// printer writes what comes, one line at a time.
type printer struct {
	// Immutable.
	e      *env
	json   bool
	enough context.CancelFunc

	mu      sync.Mutex
	left    int // messages until enough; 0: no end
	over    bool
	cursors map[string]string // by channel: after what was printed
}

// follow prints a subscription until ctx ends or the relay ends it.
func (p *printer) follow(ctx context.Context, c *chappe.Client, name string, o chappe.SubOptions) error {
	sub, err := c.Subscribe(ctx, name, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	p.passed(sub)
	for {
		if ctx.Err() != nil { // Next would first hand out all that waits
			p.passed(sub)
			return nil
		}
		ev, err := sub.Next(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, chappe.ErrClosed) {
				p.passed(sub)
				return nil
			}
			return err
		}
		more, err := p.print(name, sub, ev)
		if err != nil || !more {
			return err
		}
	}
}

// passed records how far a subscription has been printed. Only the goroutine
// that takes its events may call it.
func (p *printer) passed(sub *chappe.Subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cursors[sub.Channel()] = sub.Cursor()
}

// print writes one event; more is false when no further one is wanted. An event
// that comes after the last one wanted leaves the cursor before it.
func (p *printer) print(name string, sub *chappe.Subscription, ev chappe.Event) (more bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false, nil
	}
	switch ev := ev.(type) {
	case *chappe.Message:
		if _, err = p.e.stdout.Write(p.line(ev)); err == nil && p.left > 0 {
			if p.left--; p.left == 0 {
				p.over = true
				p.enough()
			}
		}
	case *chappe.Gap:
		p.gap(name, ev)
	case *chappe.PresenceChange:
		if p.json {
			b := wire.AppendJSON(nil, &wire.Presence{Channel: ev.Channel, Action: ev.Action, Members: ev.Members})
			_, err = p.e.stdout.Write(append(b, '\n'))
		} else {
			for _, m := range ev.Members {
				fmt.Fprintf(p.e.stderr, "chappe sub: %s: %s %s %s\n", ev.Channel, ev.Action, printable(m.User), m.Session)
			}
		}
	}
	if err != nil {
		return false, fmt.Errorf("stdout: %w", err)
	}
	p.cursors[name] = sub.Cursor()
	return !p.over, nil
}

func (p *printer) line(m *chappe.Message) []byte {
	if p.json {
		return append(wire.AppendJSON(nil, &wire.Msg{
			Channel: m.Channel, Stamp: m.Stamp, ID: m.ID, Key: m.Key, Event: m.Event, From: m.From, Data: m.Data,
		}), '\n')
	}
	return []byte(m.Channel + " " + printable(string(m.Data)) + "\n")
}

func (p *printer) gap(name string, g *chappe.Gap) {
	where := strings.Join(g.Channels, ", ")
	if where == "" {
		where = name
	}
	count := "an unknown number of messages"
	if g.Count == 1 {
		count = "1 message"
	} else if g.Count > 1 {
		count = fmt.Sprintf("%d messages", g.Count)
	}
	by := ""
	if g.Local {
		by = ", here"
	}
	fmt.Fprintf(p.e.stderr, "chappe sub: gap in %s: %s lost (%s%s)\n", where, count, g.Reason, by)
}

// states makes a listener that tells how one connection does.
func (p *printer) states() func(chappe.State) {
	var last chappe.State // guarded by p.mu
	return func(s chappe.State) {
		p.mu.Lock()
		defer p.mu.Unlock()
		again := last.Phase == s.Phase && last.URL == s.URL && last.Transport == s.Transport // better known: its session
		last = s
		if p.over || again {
			return
		}
		switch s.Phase {
		case chappe.Live:
			over := ""
			if s.Transport == "wt" {
				over = " over WebTransport"
			}
			fmt.Fprintf(p.e.stderr, "chappe sub: live at %s%s\n", s.URL, over)
		case chappe.Waiting:
			fmt.Fprintf(p.e.stderr, "chappe sub: waiting %s: %s\n", max(0, time.Until(s.Until)).Round(time.Millisecond), oneLine(s.Err))
		}
	}
}

// end silences what the goodbye would say.
func (p *printer) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// resume tells how to continue: one cursor, or one per channel.
func (p *printer) resume(channels []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var args []string
	for _, name := range channels {
		if cursor := p.cursors[name]; cursor == "" {
			continue
		} else if len(channels) == 1 {
			args = append(args, "-cursor "+cursor)
		} else {
			args = append(args, "-cursor '"+name+"="+cursor+"'")
		}
	}
	if len(args) > 0 {
		fmt.Fprintf(p.e.stderr, "chappe sub: continue with %s\n", strings.Join(args, " "))
	}
}
