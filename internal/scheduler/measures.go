package scheduler

import (
	"strconv"
	"time"

	"k8s.io/component-base/metrics"

	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// measures are the scheduler's metrics, named as kube-scheduler's.
type measures struct {
	waiting     *metrics.GaugeVec
	attempts    *metrics.CounterVec
	duration    *metrics.HistogramVec
	sli         *metrics.HistogramVec
	tries       *metrics.Histogram
	search      *metrics.Histogram
	preemptions *metrics.Counter
	victims     *metrics.Histogram
	refusals    *metrics.CounterVec
}

const subsystem = "scheduler"

func newMeasures(register func(metrics.Registerable) error) *measures {
	m := &measures{
		waiting: metrics.NewGaugeVec(&metrics.GaugeOpts{Subsystem: subsystem, Name: "pending_pods", StabilityLevel: metrics.STABLE,
			Help: "Number of pending pods, by the queue type."}, []string{"queue"}),
		attempts: metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: "schedule_attempts_total", StabilityLevel: metrics.STABLE,
			Help: "Number of attempts to schedule pods, by the result."}, []string{"result", "profile"}),
		duration: metrics.NewHistogramVec(&metrics.HistogramOpts{Subsystem: subsystem, Name: "scheduling_attempt_duration_seconds", StabilityLevel: metrics.STABLE,
			Help: "Scheduling attempt latency in seconds.", Buckets: metrics.ExponentialBuckets(0.00001, 2, 20)}, []string{"result", "profile"}),
		sli: metrics.NewHistogramVec(&metrics.HistogramOpts{Subsystem: subsystem, Name: "pod_scheduling_sli_duration_seconds", StabilityLevel: metrics.BETA,
			Help: "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue.", Buckets: metrics.ExponentialBuckets(0.001, 2, 20)}, []string{"attempts"}),
		tries: metrics.NewHistogram(&metrics.HistogramOpts{Subsystem: subsystem, Name: "pod_scheduling_attempts", StabilityLevel: metrics.STABLE,
			Help: "Number of attempts to successfully schedule a pod.", Buckets: metrics.ExponentialBuckets(1, 2, 5)}),
		search: metrics.NewHistogram(&metrics.HistogramOpts{Subsystem: subsystem, Name: "scheduling_algorithm_duration_seconds", StabilityLevel: metrics.ALPHA,
			Help: "Scheduling algorithm latency in seconds.", Buckets: metrics.ExponentialBuckets(0.000001, 2, 22)}),
		preemptions: metrics.NewCounter(&metrics.CounterOpts{Subsystem: subsystem, Name: "preemption_attempts_total", StabilityLevel: metrics.STABLE,
			Help: "Total preemption attempts in the cluster till now."}),
		victims: metrics.NewHistogram(&metrics.HistogramOpts{Subsystem: subsystem, Name: "preemption_victims", StabilityLevel: metrics.STABLE,
			Help: "Number of selected preemption victims.", Buckets: metrics.ExponentialBuckets(1, 2, 7)}),
		refusals: metrics.NewCounterVec(&metrics.CounterOpts{Subsystem: subsystem, Name: "unschedulable_attempts_total", StabilityLevel: metrics.ALPHA,
			Help: "Number of attempts in which a rule refused any node, by the rule."}, []string{"plugin", "profile"}),
	}
	if register == nil {
		register = metrics.NewKubeRegistry().Register
	}
	for _, r := range []metrics.Registerable{m.waiting, m.attempts, m.duration, m.sli, m.tries, m.search, m.preemptions, m.victims, m.refusals} {
		// A second scheduler in the process is not counted.
		_ = register(r)
	}
	return m
}

func (m *measures) pending(n backlog.Counts) {
	m.waiting.WithLabelValues("active").Set(float64(n.Active))
	m.waiting.WithLabelValues("backoff").Set(float64(n.Backoff))
	m.waiting.WithLabelValues("unschedulable").Set(float64(n.Parked))
	m.waiting.WithLabelValues("gated").Set(float64(n.Gated))
}

func (m *measures) algorithm(began time.Time) { m.search.Observe(time.Since(began).Seconds()) }

func (m *measures) attempt(result, profile string, began time.Time) {
	m.attempts.WithLabelValues(result, profile).Inc()
	m.duration.WithLabelValues(result, profile).Observe(time.Since(began).Seconds())
}

func (m *measures) refused(rules []engine.Rule, profile string) {
	for _, r := range rules {
		m.refusals.WithLabelValues(string(r), profile).Inc()
	}
}

// mostAttempts is where attempts are no longer told apart.
const mostAttempts = 15

// bound counts a pod that has its place after so many attempts.
func (m *measures) bound(attempts int, waited time.Duration) {
	label := strconv.Itoa(attempts)
	if attempts > mostAttempts {
		label = strconv.Itoa(mostAttempts) + "+"
	}
	m.sli.WithLabelValues(label).Observe(waited.Seconds())
	m.tries.Observe(float64(attempts))
}
