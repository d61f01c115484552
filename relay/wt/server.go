package wt

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/chappe-relay/chappe/relay/session"
	"github.com/chappe-relay/chappe/relay/web"
	"github.com/chappe-relay/chappe/relay/wire"
)

// Path is where a client connects.
const Path = "/v1/wt"

// Sub-protocols, as of the WebSocket (PROTOCOL §1.3). Without one: JSON.
const (
	JSON   = "chappe.v1.json"
	Binary = "chappe.v1.bin"
)

// Limits of one connection. They are small: a client has one control stream, and
// opens nothing else.
const (
	idle        = 60 * time.Second // QUIC's own; the session's pings are more frequent
	handshakes  = 5 * time.Second
	maxIncoming = 8        // streams that a client opens, of either kind; it needs one, and three of HTTP/3
	maxStreams  = 64       // that are opened for channels of one client
	window      = 64 << 10 // received and not yet read, per stream
	windowAll   = 128 << 10
	headerBytes = 16 << 10
)

// What a client takes of the relay's connections: 124 KiB and 11 goroutines were
// measured, against 6 KiB of a plain WebSocket. Nearly all of it is the QUIC
// connection's, and is taken from its first packet on.
const (
	connCost    = 19
	sessionCost = 1
)

// Config of a Server.
type Config struct {
	Host   *session.Host
	TLS    *tls.Config                                      // for HTTP/3; NextProtos is set by the server
	Remote func(*http.Request) (addr string, loopback bool) // the client
	Origin func(*http.Request) bool                         // whether its web origin may connect
	Frame  int                                              // bytes of one message of a client; 0: 1 MiB
	Hello  time.Duration                                    // until the first frame; 0: 5 s
	Logger *slog.Logger
	Secret []byte // shared by the nodes of a region; empty: connections die quietly with their node
	Region string // of those; a secret may be that of several
}

// Server accepts QUIC connections on a socket and runs their sessions.
type Server struct {
	cfg   Config
	wt    *webtransport.Server
	porch atomic.Int64 // handshakes under way

	mu        sync.Mutex
	listeners []*quic.EarlyListener
	over      bool
	wg        sync.WaitGroup
}

// New makes a server. Serve runs it.
func New(cfg Config) *Server {
	if cfg.Frame == 0 {
		cfg.Frame = 1 << 20
	}
	if cfg.Hello == 0 {
		cfg.Hello = 5 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg}
	mux := http.NewServeMux()
	mux.HandleFunc(Path, s.connect)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		web.WriteError(w, &wire.Err{Code: wire.CodeNotFound, Text: "over HTTP/3 there is " + Path + " alone"})
	})
	s.wt = &webtransport.Server{
		H3: &http3.Server{
			Handler: mux, TLSConfig: http3.ConfigureTLSConfig(cfg.TLS), MaxHeaderBytes: headerBytes, Logger: cfg.Logger,
			QUICConfig: &quic.Config{
				EnableDatagrams: true, EnableStreamResetPartialDelivery: true,
				MaxIdleTimeout: idle, HandshakeIdleTimeout: handshakes, Allow0RTT: true,
				MaxIncomingStreams: maxIncoming, MaxIncomingUniStreams: maxIncoming,
				InitialStreamReceiveWindow: 16 << 10, MaxStreamReceiveWindow: window,
				InitialConnectionReceiveWindow: 32 << 10, MaxConnectionReceiveWindow: windowAll,
			},
		},
		ApplicationProtocols: []string{Binary, JSON},
		CheckOrigin:          func(*http.Request) bool { return true }, // connect has looked, and answers with the code
	}
	webtransport.ConfigureHTTP3Server(s.wt.H3)
	return s
}

// Serve accepts connections on a socket until Close. The error is nil then.
func (s *Server) Serve(pc net.PacketConn) error {
	tr := &quic.Transport{Conn: pc, ConnContext: s.arrive, VerifySourceAddress: s.crowded}
	if len(s.cfg.Secret) > 0 {
		// Shared by the nodes of a region: a client of one that is gone hears so at
		// once from another (RFC 9000 §10.3), and an address proven to one is proven.
		reset, err := hkdf.Key(sha256.New, s.cfg.Secret, nil, "chappe quic stateless reset v1 "+s.cfg.Region, len(quic.StatelessResetKey{}))
		if err != nil {
			return fmt.Errorf("stateless reset key: %w", err)
		}
		token, err := hkdf.Key(sha256.New, s.cfg.Secret, nil, "chappe quic token v1 "+s.cfg.Region, len(quic.TokenGeneratorKey{}))
		if err != nil {
			return fmt.Errorf("token key: %w", err)
		}
		tr.StatelessResetKey, tr.TokenGeneratorKey = (*quic.StatelessResetKey)(reset), (*quic.TokenGeneratorKey)(token)
	}
	defer tr.Close()
	ln, err := tr.ListenEarly(s.wt.H3.TLSConfig, s.wt.H3.QUICConfig)
	if err != nil {
		return fmt.Errorf("listen for QUIC: %w", err)
	}
	s.mu.Lock()
	s.listeners = append(s.listeners, ln)
	over := s.over
	s.mu.Unlock()
	if over {
		ln.Close()
	}
	for {
		qc, err := ln.Accept(context.Background())
		if err != nil {
			if errors.Is(err, quic.ErrServerClosed) {
				err = nil
			}
			s.wg.Wait() // connections end before their socket
			return err
		}
		s.mu.Lock()
		if s.over {
			s.mu.Unlock()
			qc.CloseWithError(0, "")
			continue
		}
		visitorOf(qc.Context()).accepted(qc, s)
		s.wg.Go(func() {
			if err := s.wt.ServeQUICConn(qc); err != nil {
				s.cfg.Logger.Debug("quic", "err", err)
			}
		})
		s.mu.Unlock()
	}
}

// Close ends all connections and returns when their goroutines have ended. A
// drain comes before it: here nobody is told anything.
func (s *Server) Close() {
	s.mu.Lock()
	s.over = true
	all := s.listeners
	s.mu.Unlock()
	s.wt.Close()
	for _, ln := range all {
		ln.Close()
	}
	s.wg.Wait()
}

// connect takes a CONNECT request. Its handler returns when the session is over.
func (s *Server) connect(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodConnect:
		web.WriteError(w, &wire.Err{Code: wire.CodeBadRequest, Text: Path + " is for WebTransport"})
		return
	case s.cfg.Origin != nil && !s.cfg.Origin(r):
		web.WriteError(w, &wire.Err{Code: wire.CodeBadOrigin, Text: "this web origin may not connect"})
		return
	}
	s.mu.Lock()
	over := s.over
	if !over {
		s.wg.Add(1)
	}
	s.mu.Unlock()
	if over {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer s.wg.Done()
	ws, err := s.wt.Upgrade(w, r)
	if err != nil {
		s.cfg.Logger.Debug("webtransport", "err", err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	addr, loopback := s.cfg.Remote(r)
	form := session.FormStreamJSON
	if ws.SessionState().ApplicationProtocol == Binary {
		form = session.FormStreamBinary
	}
	v := visitorOf(r.Context())
	v.begin()
	defer v.end()
	// Early data may be a replay (RFC 8446 §8), by which nothing must happen: who
	// sends it is known when the handshake is complete. Until then CONNECT is answered,
	// and no more.
	select {
	case <-v.conn.HandshakeComplete():
	case <-ws.Context().Done():
		return
	}
	c := &conn{s: s, wt: ws, form: form}
	c.run(session.Params{Form: form, Transport: "wt", Cost: sessionCost, NoSocket: true, Remote: addr, Loopback: loopback, Agent: clip(r.UserAgent(), 64)})
}

func clip(s string, n int) string { return s[:min(len(s), n)] }
