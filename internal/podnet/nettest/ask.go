package nettest

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// answerTime bounds every question: an answer that must come comes in far less.
const answerTime = 5 * time.Second

// silence is how long nothing must happen before a test believes that nothing will.
const silence = 300 * time.Millisecond

// Ask connects to a ServeName from inside the namespace and returns the server's
// name and the address that the server saw.
func (n Netns) Ask(addr string) (name, seen string, err error) {
	return ask(addr, answerTime, func(d net.Dialer) (net.Conn, error) { return n.Dial(d, "tcp4", addr) })
}

// AskBriefly is Ask for a connection that is expected to meet silence.
func (n Netns) AskBriefly(addr string) (name, seen string, err error) {
	return ask(addr, silence, func(d net.Dialer) (net.Conn, error) { return n.Dial(d, "tcp4", addr) })
}

// AskHere is Ask from the node itself.
func AskHere(addr string) (name, seen string, err error) {
	return ask(addr, answerTime, func(d net.Dialer) (net.Conn, error) { return d.Dial("tcp4", addr) })
}

func ask(addr string, limit time.Duration, dial func(net.Dialer) (net.Conn, error)) (name, seen string, err error) {
	c, err := dial(net.Dialer{Timeout: limit})
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", "", err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return "", "", err
	}
	name, seen, ok := strings.Cut(string(answer), " ")
	if !ok {
		return "", "", fmt.Errorf("%s answered %q, want a name and an address", addr, answer)
	}
	return name, seen, nil
}

// AskUDP sends a datagram to an EchoName from a connected socket and returns the
// name that came back.
func AskUDP(c net.Conn) (string, error) { return askUDP(c, answerTime) }

// AskUDPBriefly is AskUDP for a datagram that may be lost.
func AskUDPBriefly(c net.Conn) (string, error) { return askUDP(c, silence) }

func askUDP(c net.Conn, limit time.Duration) (string, error) {
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte("?")); err != nil {
		return "", err
	}
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	return string(buf[:n]), err
}
