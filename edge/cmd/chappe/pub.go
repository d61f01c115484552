package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	chappe "github.com/chappe-relay/chappe/sdk/go"
)

var pubCommand = command{
	name:  "pub",
	brief: "publish",
	usage: `NAME
    chappe pub - publish

USAGE
    chappe pub [FLAGS] CHANNEL [DATA]
    chappe pub [FLAGS] -lines CHANNEL

DESCRIPTION
    Publishes DATA, or what is on stdin when DATA is - or not given, as one
    message, and prints its stamp when the relay has it. With -lines each line
    of stdin is a message, without its end of line; empty lines count.

    A message that was cut off on the way is sent again under the same id, so
    that it arrives once: to the same relay or, where several are given, to the
    next one.

FLAGS
` + urlPage + `    -token TOKEN        a token or API key, else $CHAPPE_TOKEN, which other
                        users of this machine cannot see
    -insecure           believe any certificate, as of chappe dev -tls
    -lines              each line of stdin is a message
    -id ID              idempotency id: within two minutes the relay takes one
                        message of this id. Not with -lines
    -key KEY            conflation key: of one key only the newest matters
    -event NAME         event name, for EventSource listeners
    -ttl DURATION       not delivered later than this
    -quiet              print no stamp
    -json               print the relay's answer as JSON: stamp, dup
    -timeout DURATION   give up on a message after this, 10s if not given
    -transport NAME     ws, wt or poll (HTTP requests); poll if not given, ws
                        with -lines
    -format FORM        of frames with -transport ws and wt: bin or json

EXAMPLES
    $ chappe pub rides.42 '{"at":"gate"}'
    $ tail -f ride.log | chappe pub -lines rides.42
    $ chappe pub -url https://eu.example,https://us.example rides.42 hello`,
	setup: func(f *flags) func(*env, []string) error {
		p := pubFlags{client: newClientFlags(f)}
		p.id, p.key, p.event = f.String("id", "", ""), f.String("key", "", ""), f.String("event", "", "")
		p.ttl, p.timeout = f.Duration("ttl", 0, ""), f.Duration("timeout", 10*time.Second, "")
		p.lines, p.quiet, p.json = f.Bool("lines", false, ""), f.Bool("quiet", false, ""), f.Bool("json", false, "")
		return p.run
	},
}

type pubFlags struct {
	client             clientFlags
	id, key, event     *string
	ttl, timeout       *time.Duration
	lines, quiet, json *bool
}

func (p *pubFlags) run(e *env, args []string) error {
	switch {
	case len(args) == 0:
		return wrong("which channel? chappe pub CHANNEL [DATA]")
	case len(args) > 2:
		return wrong("one argument too many: %s; quote DATA that has spaces", printable(args[2]))
	case *p.lines && len(args) == 2 && args[1] != "-":
		return wrong("-lines reads stdin; leave DATA out")
	case *p.lines && *p.id != "":
		return wrong("-id is for one message; leave it out with -lines")
	case *p.ttl < 0 || *p.timeout <= 0:
		return wrong("-ttl and -timeout are not negative")
	}
	url, o, err := p.client.options(e)
	if err != nil {
		return err
	}
	if o.Transport == "" && !*p.lines && o.Format == "" {
		o.Transport = "poll" // one request, without a session
	}
	ctx, stop := interrupts(e.ctx, nil)
	defer stop()
	c := chappe.New(url, o)
	// The goodbye is a courtesy; a relay that does not answer must not keep us.
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.Close(ctx)
	}()
	if *p.lines {
		s := scanLines(e.stdin)
		for n := 1; s.Scan(); n++ {
			if err := p.publish(ctx, e, c, args[0], s.Bytes()); err != nil {
				return fmt.Errorf("line %d: %s", n, oneLine(err))
			}
		}
		return s.Err()
	}
	data := []byte(nil)
	if len(args) == 2 && args[1] != "-" {
		data = []byte(args[1])
	} else if data, err = io.ReadAll(io.LimitReader(e.stdin, 64<<20)); err != nil { // the relay's limit is far below
		return fmt.Errorf("stdin: %w", err)
	}
	return p.publish(ctx, e, c, args[0], data)
}

func (p *pubFlags) publish(ctx context.Context, e *env, c *chappe.Client, channel string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, *p.timeout)
	defer cancel()
	ack, err := c.Publish(ctx, channel, chappe.Message{
		Data: data, ID: *p.id, Key: *p.key, Event: *p.event, TTL: *p.ttl,
	})
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && !refused(err) {
			return fmt.Errorf("no answer within %s: %w", *p.timeout, err)
		}
		return err
	}
	switch {
	case *p.json:
		b, err := json.Marshal(struct {
			Stamp string `json:"stamp"`
			Dup   bool   `json:"dup,omitempty"`
		}{ack.Stamp.String(), ack.Dup})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(e.stdout, "%s\n", b)
		return err
	case *p.quiet:
		return nil
	}
	_, err = fmt.Fprintln(e.stdout, ack.Stamp)
	return err
}
