package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chappe-relay/chappe/bench/load"
	"github.com/chappe-relay/chappe/bench/target"
)

// stage is a server with an audience and a publisher.
type stage struct {
	env      *Environment
	target   Target
	loop     *load.Loop
	audience *load.Audience
	pub      *load.Publisher
	window   *load.Window
}

const (
	shared   = "news"           // second token of the channel that all share
	payload  = 128              // bytes, as the peers were measured with
	joinTime = 60 * time.Second // for all subscriptions to stand
	tailTime = 10 * time.Second // for the last message to arrive
)

func one(namespace string) func(int) string {
	return func(int) string { return namespace + "." + shared }
}

func each(namespace string) func(int) string {
	return func(i int) string { return fmt.Sprintf("%s.n%d", namespace, i) }
}

// open starts a server and a loop. Close the stage.
func open(ctx context.Context, e *Environment) (*stage, error) {
	t, err := e.Start(ctx)
	if err != nil {
		return nil, err
	}
	loop, err := load.NewLoop()
	if err != nil {
		return nil, errors.Join(err, t.Stop())
	}
	return &stage{env: e, target: t, loop: loop, window: load.NewWindow()}, nil
}

func (s *stage) close() error { return errors.Join(s.loop.Close(), s.target.Stop()) }

// gather connects subscribers and waits until all stand.
func (s *stage) gather(ctx context.Context, o load.Options) error {
	o.Addr, o.Window = s.target.Address(), s.window
	s.audience = s.loop.Gather(o)
	if err := s.loop.Run(ctx, joinTime, s.audience.Settled); err != nil {
		return fmt.Errorf("%d of %d subscribers stand: %w", s.audience.Alive(), o.Count, err)
	}
	return s.audience.Err()
}

// publisher connects a publisher to the channel of the first subscriber.
func (s *stage) publisher(ctx context.Context, o load.PublisherOptions) (err error) {
	o.Addr, o.Token = s.target.Address(), target.Key
	if s.pub, err = s.loop.Publish(o); err != nil {
		return err
	}
	if err := s.loop.Run(ctx, joinTime, s.pub.Ready); err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	s.audience.Expect(1)
	return s.pub.Err()
}

// finish stops the publisher and waits for the last message, which may not come.
func (s *stage) finish(ctx context.Context) error {
	s.pub.Rate(0)
	err := s.loop.Run(ctx, tailTime, func() bool { return s.audience.Reached(s.pub.Seq) })
	if errors.Is(err, load.ErrLate) {
		err = nil // the tally tells it
	}
	return errors.Join(err, s.pub.Err())
}

// judge adds the faults that no scenario may have.
func (s *stage) judge(r *Result) {
	t := s.audience.Total()
	r.some(t.Got, "delivered")
	s.lossless(r, s.audience.Missing(s.pub.Seq), t.Told, "")
	r.none(t.Repeated, "repeated")
	r.none(t.Foreign, "of an unknown kind")
	if err := s.audience.Err(); err != nil {
		r.fault("%v", err)
	}
}

// lossless is a fault unless nothing was lost and nothing was told as lost. In a
// small run, which may share its machine with anything, a reader may fall
// behind, as long as it was told exactly what it lost.
func (s *stage) lossless(r *Result, missing, told uint64, by string) {
	if missing != told {
		r.fault("%d messages lost%s, %d told", missing, by, told)
	} else if !s.env.Small {
		r.none(missing, "lost"+by+", and told")
	}
}

// staged runs a scenario on a stage of its own.
func staged(run func(ctx context.Context, s *stage, r *Result) error) func(context.Context, *Environment) (*Result, error) {
	return func(ctx context.Context, e *Environment) (*Result, error) {
		s, err := open(ctx, e)
		if err != nil {
			return nil, err
		}
		r := &Result{}
		err = run(ctx, s, r)
		return r, errors.Join(err, s.close())
	}
}
