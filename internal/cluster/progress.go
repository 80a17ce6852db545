package cluster

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Step names a part of starting up.
type Step string

// Steps in the order in which they are usually done.
const (
	StepData         Step = "data"
	StepCertificates Step = "certificates"
	StepRuntime      Step = "runtime"
	StepStore        Step = "store"
	StepAPI          Step = "api"
	StepControllers  Step = "controllers"
	StepNetwork      Step = "network"
	StepNode         Step = "node"
	// StepReady is reported last: everything works.
	StepReady Step = "ready"
)

// Event is the end of a step. It travels as one line of JSON from a detached
// server to the command that started it.
type Event struct {
	Step  Step          `json:"step"`
	Took  time.Duration `json:"took"`  // of this step
	Since time.Duration `json:"since"` // since the start of the process
	Error string        `json:"error,omitempty"`
}

// Reporter is told of each step; it may be called from several goroutines.
type Reporter func(Event)

// WriteEvents returns a reporter that writes events as lines of JSON. A reader
// that has gone away does not matter: its terminal was closed.
func WriteEvents(w io.Writer) Reporter {
	var mu sync.Mutex
	enc := json.NewEncoder(w)
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(e)
	}
}

// progress measures steps.
type progress struct {
	began  time.Time
	report Reporter
}

// step runs do and reports how it went.
func (p progress) step(name Step, do func() error) error {
	began := time.Now()
	err := do()
	p.end(name, began, err)
	return err
}

func (p progress) end(name Step, began time.Time, err error) {
	e := Event{Step: name, Took: time.Since(began), Since: time.Since(p.began)}
	if err != nil {
		e.Error = err.Error()
	}
	p.report(e)
}

// fail reports a step that could not even begin.
func (p progress) fail(name Step, err error) { p.end(name, time.Now(), err) }
