package apiserver

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net"
	"sync"
)

// join makes one listener of several.
func join(listeners []net.Listener) net.Listener {
	if len(listeners) == 1 {
		return listeners[0]
	}
	j := &joined{listeners: listeners, conns: make(chan accepted), done: make(chan struct{})}
	return j
}

type accepted struct {
	conn net.Conn
	err  error
}

type joined struct {
	listeners []net.Listener
	start     sync.Once
	conns     chan accepted
	stop      sync.Once
	done      chan struct{}
}

// Accept starts the loops that take connections when it is called first.
func (j *joined) Accept() (net.Conn, error) {
	j.start.Do(func() {
		for _, l := range j.listeners {
			go j.accept(l)
		}
	})
	select {
	case a := <-j.conns:
		return a.conn, a.err
	case <-j.done:
		return nil, net.ErrClosed
	}
}

func (j *joined) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		select {
		case j.conns <- accepted{conn, err}:
		case <-j.done:
			if conn != nil {
				_ = conn.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (j *joined) Close() error {
	var errs []error
	j.stop.Do(func() {
		close(j.done)
		for _, l := range j.listeners {
			errs = append(errs, l.Close())
		}
	})
	return errors.Join(errs...)
}

func (j *joined) Addr() net.Addr { return j.listeners[0].Addr() }

// newToken returns a secret that lives as long as this process.
func newToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
