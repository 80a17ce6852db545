// Package audit records who asked the server for what: by the rules of a policy
// file, into a file that is rotated, to a webhook in batches, or both. Without
// a policy nothing is recorded and a request pays nothing for it.
//
// The rules and the forms of the records are those of k8s.io/apiserver; this
// package chooses among them by Options and says clearly what is wrong with
// them. It starts no goroutine: the server runs the Backend and ends it.
package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	utilwebhook "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/audit/buffered"
	"k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/apiserver/plugin/pkg/audit/truncate"
	"k8s.io/apiserver/plugin/pkg/audit/webhook"
)

// Options say what is recorded and where. The zero value records nothing.
type Options struct {
	PolicyFile string
	Log        Log
	Webhook    Webhook
}

// Log is the record kept in a file.
type Log struct {
	Path       string // "-" is standard output
	MaxAge     int    // days; 0 keeps for ever
	MaxBackups int    // rotated files; 0 keeps all
	MaxSize    int    // megabytes; 0 never rotates
	Format     string // json or legacy
	Compress   bool
	Send       Send
}

// Webhook is the record sent to another program.
type Webhook struct {
	ConfigFile     string // a kubeconfig that says where it is
	InitialBackoff time.Duration
	Send           Send
}

// Send is how records leave the request that made them.
type Send struct {
	Mode     string // batch, blocking or blocking-strict
	Buffer   int    // records that may wait, in batch mode
	MaxBatch int    // records in one batch
	MaxWait  time.Duration
	QPS      float32 // batches a second; 0 is no limit
	Burst    int
	// Truncate cuts records to MaxEvent bytes and batches to MaxBytes.
	Truncate           bool
	MaxEvent, MaxBytes int64
}

// Modes in which records are sent.
const (
	Batch          = "batch"           // beside the request
	Blocking       = "blocking"        // before its answer
	BlockingStrict = "blocking-strict" // and without it there is no answer
)

// Defaults are upstream's.
func Defaults() Options {
	return Options{
		Log: Log{
			MaxAge: 366, MaxBackups: 100, MaxSize: 100, Format: log.FormatJson,
			Send: Send{Mode: Blocking, Buffer: 10_000, MaxBatch: 1, MaxEvent: 100 << 10, MaxBytes: 10 << 20},
		},
		Webhook: Webhook{
			InitialBackoff: webhook.DefaultInitialBackoffDelay,
			Send: Send{Mode: Batch, Buffer: 10_000, MaxBatch: 400, MaxWait: 30 * time.Second, QPS: 10, Burst: 15,
				MaxEvent: 100 << 10, MaxBytes: 10 << 20},
		},
	}
}

// Audit is what a server needs to record; both are nil where nothing is to be.
type Audit struct {
	Backend audit.Backend
	Policy  audit.PolicyRuleEvaluator
}

// Records reports whether a request is recorded.
func (a Audit) Records(r authorizer.Attributes) bool {
	return a.Policy != nil && a.Policy.EvaluatePolicyRule(r).Level != auditinternal.LevelNone
}

// Check says what is wrong with the options, the policy file included, and
// changes nothing.
func (o Options) Check() error {
	_, err := o.policy()
	return errors.Join(err, o.validate())
}

func (o Options) validate() error {
	to := o.Log.Path != "" || o.Webhook.ConfigFile != ""
	switch {
	case o.PolicyFile == "" && to:
		return errors.New("an audit log or webhook is set, but no --audit-policy-file says what to record; a policy that records who did what: {apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}")
	case o.PolicyFile != "" && !to:
		return errors.New("--audit-policy-file is set, but nothing says where to record; set --audit-log-path or --audit-webhook-config-file")
	}
	var errs []error
	if o.Log.Path != "" {
		errs = append(errs, o.Log.Send.validate("log"), o.Log.validate())
	}
	if o.Webhook.ConfigFile != "" {
		errs = append(errs, o.Webhook.Send.validate("webhook"))
		if _, err := utilwebhook.LoadKubeconfig(o.Webhook.ConfigFile, nil); err != nil {
			errs = append(errs, fmt.Errorf("--audit-webhook-config-file %s is no kubeconfig that can be used: %w", o.Webhook.ConfigFile, err))
		}
	}
	return errors.Join(errs...)
}

func (l Log) validate() error {
	for _, n := range []struct {
		flag  string
		value int
	}{{"maxage", l.MaxAge}, {"maxbackup", l.MaxBackups}, {"maxsize", l.MaxSize}} {
		if n.value < 0 {
			return fmt.Errorf("--audit-log-%s %d: must not be negative", n.flag, n.value)
		}
	}
	if !slices.Contains(log.AllowedFormats, l.Format) {
		return fmt.Errorf("--audit-log-format %q: choose one of %s", l.Format, strings.Join(log.AllowedFormats, ", "))
	}
	return nil
}

func (s Send) validate(what string) error {
	modes := []string{Batch, Blocking, BlockingStrict}
	switch {
	case !slices.Contains(modes, s.Mode):
		return fmt.Errorf("--audit-%s-mode %q: choose one of %s", what, s.Mode, strings.Join(modes, ", "))
	case s.Mode == Batch && s.Buffer <= 0:
		return fmt.Errorf("--audit-%s-batch-buffer-size %d: must be positive", what, s.Buffer)
	case s.Mode == Batch && s.MaxBatch <= 0:
		return fmt.Errorf("--audit-%s-batch-max-size %d: must be positive", what, s.MaxBatch)
	case s.Truncate && (s.MaxEvent <= 0 || s.MaxBytes < s.MaxEvent):
		return fmt.Errorf("--audit-%s-truncate-max-batch-size %d must be at least --audit-%s-truncate-max-event-size %d, and both positive", what, s.MaxBytes, what, s.MaxEvent)
	}
	return nil
}

// policy reads the policy file; nil where there is none.
func (o Options) policy() (audit.PolicyRuleEvaluator, error) {
	if o.PolicyFile == "" {
		return nil, nil
	}
	p, err := policy.LoadPolicyFromFile(o.PolicyFile)
	if err != nil {
		return nil, fmt.Errorf("--audit-policy-file %s: %w", o.PolicyFile, err)
	}
	return policy.NewPolicyRuleEvaluator(p), nil
}

// New opens where records go.
func New(o Options) (Audit, error) {
	if err := o.validate(); err != nil {
		return Audit{}, err
	}
	rules, err := o.policy()
	if err != nil || rules == nil {
		return Audit{}, err
	}
	var backends []audit.Backend
	if o.Log.Path != "" {
		out, err := o.Log.open()
		if err != nil {
			return Audit{}, fmt.Errorf("--audit-log-path: %w", err)
		}
		backends = append(backends, o.Log.Send.wrap(log.NewBackend(out, o.Log.Format, auditv1.SchemeGroupVersion), false))
	}
	if o.Webhook.ConfigFile != "" {
		hook, err := webhook.NewBackend(o.Webhook.ConfigFile, auditv1.SchemeGroupVersion,
			utilwebhook.DefaultRetryBackoffWithInitialDelay(o.Webhook.InitialBackoff), nil)
		if err != nil {
			return Audit{}, fmt.Errorf("--audit-webhook-config-file %s: %w", o.Webhook.ConfigFile, err)
		}
		backends = append(backends, o.Webhook.Send.wrap(hook, true))
	}
	return Audit{Backend: audit.Union(backends...), Policy: rules}, nil
}

// open makes the file, which only its owner reads: records hold what requests
// held.
func (l Log) open() (io.Writer, error) {
	if l.Path == "-" {
		return os.Stdout, nil
	}
	if err := os.MkdirAll(filepath.Dir(l.Path), 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(l.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if l.MaxSize == 0 {
		return file, nil
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return &lumberjack.Logger{
		Filename: l.Path, MaxAge: l.MaxAge, MaxBackups: l.MaxBackups, MaxSize: l.MaxSize, Compress: l.Compress,
	}, nil
}

// wrap puts between request and backend what Send asks for.
func (s Send) wrap(b audit.Backend, beside bool) audit.Backend {
	switch s.Mode {
	case Blocking:
		b = &forgiving{b}
	case Batch:
		b = buffered.NewBackend(b, buffered.BatchConfig{
			BufferSize: s.Buffer, MaxBatchSize: s.MaxBatch, MaxBatchWait: s.MaxWait,
			ThrottleEnable: s.QPS > 0, ThrottleQPS: s.QPS, ThrottleBurst: s.Burst,
			AsyncDelegate: beside,
		})
	}
	if s.Truncate {
		b = truncate.NewBackend(b, truncate.Config{MaxBatchSize: s.MaxBytes, MaxEventSize: s.MaxEvent}, auditv1.SchemeGroupVersion)
	}
	return b
}
