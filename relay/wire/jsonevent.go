package wire

// decodeEvent reads a frame of a server; nil if there is none of that name.
func decodeEvent(t string, f *fields) (Frame, *DecodeError) {
	switch t {
	case "msg":
		var m arriving
		for f.next() {
			readMsg(f, &m)
		}
		err := m.finish()
		return &m.Msg, err
	case "history":
		return decodePage(f)
	case "welcome":
		return decodeWelcome(f), nil
	case "ping":
		return &Ping{}, nil
	case "gap":
		g := &Gap{}
		for f.next() {
			readGap(f, g)
		}
		return g, nil
	case "progress":
		p := &Progress{}
		for f.next() {
			if string(f.key) == "cursor" {
				f.str(&p.Cursor)
			}
		}
		return p, nil
	case "ack":
		a := &Ack{}
		for f.next() {
			switch string(f.key) {
			case "ref":
				f.ref(&a.Ref)
			case "stamp":
				f.stamp(&a.Stamp)
			case "dup":
				f.boolean(&a.Dup)
			case "expires":
				f.ms(&a.Expires)
			case "expires_ms":
				f.ms(&a.ExpiresIn)
			}
		}
		return a, nil
	case "err":
		e := &Err{}
		for f.next() {
			switch string(f.key) {
			case "ref":
				f.ref(&e.Ref)
			case "channel":
				f.str(&e.Channel)
			case "code":
				f.str((*string)(&e.Code))
			case "text":
				f.str(&e.Text)
			case "retry_ms":
				f.ms(&e.Retry)
			case "terminal":
				f.boolean(&e.Terminal)
			}
		}
		return e, nil
	case "drain":
		d := &Drain{}
		for f.next() {
			switch string(f.key) {
			case "deadline_ms":
				f.ms(&d.Deadline)
			case "delay_ms":
				f.ms(&d.Delay)
			case "alternatives":
				f.strs(&d.Alternatives)
			}
		}
		return d, nil
	case "presence":
		p := &Presence{}
		for f.next() {
			readPresence(f, p)
		}
		return p, nil
	case "subbed":
		s := &Subbed{}
		for f.next() {
			switch string(f.key) {
			case "ref":
				f.ref(&s.Ref)
			case "channel":
				f.str(&s.Channel)
			case "cursor":
				f.str(&s.Cursor)
			case "recovered":
				f.boolean(&s.Recovered)
			case "pass":
				f.str(&s.Pass)
			case "via":
				f.str(&s.Via)
			}
		}
		return s, nil
	case "unsubbed":
		u := &Unsubbed{}
		for f.next() {
			switch string(f.key) {
			case "ref":
				f.ref(&u.Ref)
			case "channel":
				f.str(&u.Channel)
			case "code":
				f.str((*string)(&u.Code))
			case "text":
				f.str(&u.Text)
			}
		}
		return u, nil
	}
	return nil, nil
}

// arriving is a message whose payload is not decoded yet.
type arriving struct {
	Msg
	data payload
}

func (m *arriving) finish() (err *DecodeError) {
	m.Data, err = m.data.decode()
	m.data = payload{} // the message must not keep the whole input alive
	return err
}

func readMsg(f *fields, m *arriving) {
	switch string(f.key) {
	case "channel":
		f.str(&m.Channel)
	case "stamp":
		f.stamp(&m.Stamp)
	case "id":
		f.str(&m.ID)
	case "key":
		f.str(&m.Key)
	case "event":
		f.str(&m.Event)
	case "from":
		f.str(&m.From)
	case "data":
		m.data.val = f.val
	case "enc":
		f.str(&m.data.enc)
	}
}

func readGap(f *fields, g *Gap) {
	switch string(f.key) {
	case "channels":
		f.strs(&g.Channels)
	case "ranges":
		objects(f, &g.Ranges, readRange)
	case "count":
		f.count(&g.Count)
	case "reason":
		f.str((*string)(&g.Reason))
	}
}

func readRange(f *fields, r *Range) {
	switch string(f.key) {
	case "origin":
		f.origin(&r.Origin)
	case "from":
		f.tick(&r.From)
	case "to":
		f.tick(&r.To)
	case "seq":
		f.count(&r.Seq)
	}
}

func readPresence(f *fields, p *Presence) {
	switch string(f.key) {
	case "ref":
		f.ref(&p.Ref)
	case "channel":
		f.str(&p.Channel)
	case "action":
		f.str(&p.Action)
	case "members":
		objects(f, &p.Members, func(f *fields, m *Member) {
			switch string(f.key) {
			case "session":
				f.str(&m.Session)
			case "user":
				f.str(&m.User)
			case "state":
				f.str(&m.State)
			}
		})
	}
}

func decodeWelcome(f *fields) *Welcome {
	w := &Welcome{}
	for f.next() {
		switch string(f.key) {
		case "version":
			f.int(&w.Version)
		case "session":
			f.str(&w.Session)
		case "resume":
			f.str(&w.Resume)
		case "node":
			f.origin(&w.Node)
		case "region":
			f.str(&w.Region)
		case "ping_ms":
			f.ms(&w.Ping)
		case "dead_ms":
			f.ms(&w.Dead)
		case "reconnect_ms":
			f.ms(&w.Reconnect)
		case "expires":
			f.ms(&w.Expires)
		case "expires_ms":
			f.ms(&w.ExpiresIn)
		case "alternatives":
			f.strs(&w.Alternatives)
		case "limits":
			w.Limits = Limits{}
			if !f.null() {
				object(f, f.val, &w.Limits, readLimits)
			}
		}
	}
	return w
}

func readLimits(f *fields, l *Limits) {
	switch string(f.key) {
	case "message":
		f.int(&l.Message)
	case "subs":
		f.int(&l.Subs)
	case "rate":
		f.int(&l.Rate)
	case "burst":
		f.int(&l.Burst)
	}
}

func decodePage(f *fields) (Frame, *DecodeError) {
	p := &HistoryPage{}
	var err *DecodeError
	for f.next() {
		switch string(f.key) {
		case "ref":
			f.ref(&p.Ref)
		case "channel":
			f.str(&p.Channel)
		case "messages":
			p.Messages = nil
			f.each(func(val []byte) {
				var m arriving
				object(f, val, &m, readMsg)
				if e := m.finish(); e != nil && err == nil {
					err = e
				}
				p.Messages = append(p.Messages, m.Msg)
			})
		case "cursor":
			f.str(&p.Cursor)
		case "more":
			f.boolean(&p.More)
		case "gap":
			p.Gap = nil
			if !f.null() {
				p.Gap = &Gap{}
				object(f, f.val, p.Gap, readGap)
			}
		}
	}
	return p, err
}
