package scenario

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/bench/target"
	"github.com/chappe-relay/chappe/relay/wire"
)

// atOnce is how many clients connect, or shake hands, side by side.
const atOnce = 16

// among does something n times, atOnce side by side.
func among(n int, do func(i int) error) error {
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, atOnce)
	for k := range atOnce {
		all.Go(func() {
			for errs[k] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				errs[k] = do(i)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// dialer connects a client that follows a channel.
type dialer func(ctx context.Context, addr, channel string) (*quiet, error)

// idleTLS is idle with clients that are goroutines: what they take is not measured.
// A connection that takes more than most KiB is a fault, also in a small run: memory
// is the same on a busy machine.
func idleTLS(dial dialer, count int, most float64) func(context.Context, *Environment) (*Result, error) {
	return resting(func(ctx context.Context, e *Environment) (Target, error) { return e.Secure(ctx) }, dial, count, most)
}

// idleClear is the same without TLS.
func idleClear(dial dialer, count int, most float64) func(context.Context, *Environment) (*Result, error) {
	return resting(func(ctx context.Context, e *Environment) (Target, error) { return e.Start(ctx) }, dial, count, most)
}

func resting(server func(context.Context, *Environment) (Target, error), dial dialer, count int, most float64) func(context.Context, *Environment) (*Result, error) {
	return func(ctx context.Context, e *Environment) (r *Result, err error) {
		t, err := server(ctx, e)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, t.Stop()) }()
		n := pick(e, count, 300)
		clients := make([]*quiet, n)
		defer func() {
			for _, c := range clients {
				if c != nil {
					c.end()
				}
			}
		}()
		time.Sleep(pick(e, time.Second, 0))
		base, err := t.RSS()
		if err != nil {
			return nil, err
		}
		m, err := start(t)
		if err != nil {
			return nil, err
		}
		if err := among(n, func(i int) (err error) {
			clients[i], err = dial(ctx, t.Address().String(), each(live)(i))
			return err
		}); err != nil {
			return nil, err
		}
		joined, err := m.stop()
		if err != nil {
			return nil, err
		}
		r = &Result{}
		for _, rest := range []struct {
			name string
			d    time.Duration
		}{{"kib_per_conn_5s", 5 * time.Second}, {"kib_per_conn_20s", 15 * time.Second}} {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(pick(e, rest.d, 100*time.Millisecond)):
			}
			now, err := t.RSS()
			if err != nil {
				return nil, err
			}
			each := float64(now-base) / 1024 / float64(n)
			r.put(rest.name, each)
			if each > most {
				r.fault("%.1f KiB for a connection, at most %.0f are expected", each, most)
			}
		}
		alive := 0
		for _, c := range clients {
			if c.lost.Load() == nil {
				alive++
			}
		}
		r.put("base_mb", float64(base)/mib)
		r.put("connect_s", joined.wall.Seconds())
		r.put("cpu_per_1000_conn", joined.server.Seconds()*1000/float64(n))
		r.put("alive", float64(alive))
		r.put("other_cpu", joined.other)
		if alive != n {
			r.fault("%d of %d connections are alive", alive, n)
		}
		return r, nil
	}
}

// quiet is a client that follows one channel and answers pings.
type quiet struct {
	end  func()
	lost atomic.Pointer[error]
}

// follow says hello, waits until the subscription stands, and answers pings from
// then on.
func (q *quiet) follow(channel string, write func(wire.Frame) error, read func() ([]wire.Frame, error)) error {
	if err := write(&wire.Hello{Version: 1, Agent: "chappe-bench", Subs: []wire.Sub{{Channel: channel}}}); err != nil {
		return err
	}
	standing := make(chan error, 1)
	go func() {
		for {
			fs, err := read()
			for _, f := range fs {
				switch f.(type) {
				case *wire.Subbed:
					standing <- nil
				case *wire.Ping:
					err = errors.Join(err, write(&wire.Pong{}))
				}
			}
			if err != nil {
				q.lost.Store(&err)
				select {
				case standing <- err:
				default:
				}
				return
			}
		}
	}()
	return <-standing
}

func dialWSS(ctx context.Context, addr, channel string) (*quiet, error) {
	c, _, err := websocket.Dial(ctx, "wss://"+addr+"/v1/ws", &websocket.DialOptions{Subprotocols: []string{"chappe.v1.bin"},
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: target.Trusting()}}})
	if err != nil {
		return nil, err
	}
	q := &quiet{end: func() { c.CloseNow() }}
	return q, q.follow(channel, func(f wire.Frame) error { return c.Write(ctx, websocket.MessageBinary, wire.AppendBinary(nil, f)) },
		func() ([]wire.Frame, error) {
			_, b, err := c.Read(ctx)
			if err != nil {
				return nil, err
			}
			return wire.DecodeBinary(b, wire.FromServer)
		})
}

// dialH2 follows a channel by EventSource over HTTP/2, on a connection of its own.
func dialH2(ctx context.Context, addr, channel string) (*quiet, error) {
	ctx, end := context.WithCancel(ctx)
	transport := &http.Transport{TLSClientConfig: target.Trusting(), ForceAttemptHTTP2: true}
	q := &quiet{end: func() {
		end()
		transport.CloseIdleConnections()
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr+"/v1/sse?channel="+channel, nil)
	if err != nil {
		return q, err
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return q, err
	}
	if res.ProtoMajor != 2 || res.StatusCode != http.StatusOK {
		return q, fmt.Errorf("%s %s", res.Proto, res.Status)
	}
	go func() {
		defer res.Body.Close()
		_, err := io.Copy(io.Discard, res.Body)
		err = errors.Join(err, io.EOF)
		q.lost.Store(&err)
	}()
	return q, nil
}

// poller polls one channel on a connection of its own, in the clear, over TLS with
// HTTP/1.1, or with HTTP/2.
func poller(scheme string, h2 bool) dialer {
	return func(ctx context.Context, addr, channel string) (*quiet, error) {
		ctx, end := context.WithCancel(ctx)
		transport := &http.Transport{TLSClientConfig: target.Trusting(), ForceAttemptHTTP2: h2}
		q := &quiet{end: func() {
			end()
			transport.CloseIdleConnections()
		}}
		client := &http.Client{Transport: transport}
		poll := func(cursor string) (string, error) {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+"/v1/poll?channel="+channel+"&session=&cursor="+cursor, nil)
			if err != nil {
				return "", err
			}
			res, err := client.Do(req)
			if err != nil {
				return "", err
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusOK || (res.ProtoMajor == 2) != h2 {
				return "", fmt.Errorf("%s %s", res.Proto, res.Status)
			}
			var answer struct{ Cursor string }
			err = json.NewDecoder(res.Body).Decode(&answer)
			io.Copy(io.Discard, res.Body)
			return answer.Cursor, err
		}
		cursor, err := poll("")
		if err != nil {
			return q, err
		}
		go func() {
			for {
				var err error
				if cursor, err = poll(cursor); err != nil {
					q.lost.Store(&err)
					return
				}
			}
		}()
		return q, nil
	}
}

func dialWT(ctx context.Context, addr, channel string) (*quiet, error) {
	c := target.Trusting()
	c.NextProtos = []string{"h3"}
	d := &webtransport.Transport{TLSClientConfig: c, ApplicationProtocols: []string{"chappe.v1.bin"},
		QUICConfig: &quic.Config{EnableDatagrams: true, EnableStreamResetPartialDelivery: true, MaxIdleTimeout: time.Minute}}
	_, s, err := d.Dial(ctx, "https://"+addr+"/v1/wt", nil)
	if err != nil {
		return nil, err
	}
	control, err := s.OpenStream()
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(control, 512)
	q := &quiet{end: func() {
		s.CloseWithError(0, "")
		d.Close()
	}}
	return q, q.follow(channel, func(f wire.Frame) error {
		b := wire.AppendBinary(nil, f)
		_, err := control.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
		return err
	}, func() ([]wire.Frame, error) {
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, err
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		return wire.DecodeBinary(b, wire.FromServer)
	})
}

// handshake measures what TLS costs the server: connections that end right behind
// their handshake.
func handshake(ctx context.Context, e *Environment) (r *Result, err error) {
	t, err := e.Secure(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Stop()) }()
	n := pick(e, 4000, 40)
	r = &Result{}
	shake := func(name string, c *tls.Config, resumed bool) error {
		m, err := start(t)
		if err != nil {
			return err
		}
		var other atomic.Int64
		if err := among(n, func(int) error {
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", t.Address().String(), c)
			if err != nil {
				return err
			}
			defer conn.Close()
			if conn.ConnectionState().DidResume != resumed {
				other.Add(1)
			}
			return nil
		}); err != nil {
			return err
		}
		time.Sleep(pick(e, 200*time.Millisecond, 0)) // the server's last ones
		took, err := m.stop()
		if err != nil {
			return err
		}
		r.put("cpu_ms_"+name, 1000*took.server.Seconds()/float64(n))
		if other.Load() > 0 {
			r.fault("%d of %d handshakes were not %s", other.Load(), n, name)
		}
		return nil
	}
	if err := shake("full", target.Trusting(), false); err != nil {
		return nil, err
	}
	// A ticket is there once something was read behind the handshake.
	known := target.Trusting()
	known.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	conn, err := tls.Dial("tcp", t.Address().String(), known)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET /v1/probe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	var b [4096]byte
	for err == nil {
		_, err = conn.Read(b[:])
	}
	conn.Close()
	return r, shake("resumed", known, true)
}
