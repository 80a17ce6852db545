package apiserver

import (
	"context"
	"net/http"
	goruntime "runtime"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"

	"github.com/sinawi/sinawi/internal/apiserver/answer"
	"github.com/sinawi/sinawi/internal/apiserver/lists"
	"github.com/sinawi/sinawi/internal/apiserver/stack"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// chain is what every request passes on its way to handler, the last first: the
// filters of k8s.io/apiserver in its order, less what nobody uses here and a small
// request pays dearly for. Those are spans for a tracer that is never there, a watch on
// each filter's time with a copy of the request, and the goroutine that short requests
// are handed to (see [answer]): a quarter of the CPU time of a get.
func chain(handler http.Handler, c *genericapiserver.Config, objects *feed.Feed) http.Handler {
	stats := current(c.StorageObjectCountTracker.Get, objects.Len)
	work := request.NewWorkEstimator(stats, c.FlowControl.GetInterestedWatchCount,
		request.DefaultWorkEstimatorConfig(), c.FlowControl.GetMaxSeats)
	handler = filters.WithAuthorization(handler, timedAuthorizer{c.Authorization.Authorizer}, c.Serializer)
	handler = genericfilters.WithPriorityAndFairness(handler, c.LongRunningFunc, c.FlowControl, work, c.RequestTimeout/4)
	handler = limited(handler, c, stats)
	handler = impersonation.WithConstrainedImpersonation(handler, c.Authorization.Authorizer, c.Serializer)
	handler = filters.WithAudit(handler, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc)
	unknown := filters.WithFailedAuthenticationAudit(filters.Unauthorized(c.Serializer), c.AuditBackend, c.AuditPolicyRuleEvaluator)
	handler = filters.WithAuthentication(handler, timedAuthenticator(c.Authentication.Authenticator), unknown,
		c.Authentication.APIAudiences, c.Authentication.RequestHeaderConfig)
	handler = filters.WithWarningRecorder(handler)
	handler = answer.Carry(handler, answer.Options{LongRunning: c.LongRunningFunc, Turns: turns()})
	handler = filters.WithRequestDeadline(handler, c.AuditBackend, c.AuditPolicyRuleEvaluator, c.LongRunningFunc, c.Serializer, c.RequestTimeout)
	handler = genericfilters.WithWaitGroup(handler, c.LongRunningFunc, c.NonLongRunningRequestWaitGroup)
	handler = genericfilters.WithWatchTerminationDuringShutdown(handler, shutdown(c.ShutdownInitiatedNotify()), c.WatchRequestWaitGroup)
	handler = filters.WithCacheControl(handler)
	handler = genericfilters.WithHTTPLogging(handler)
	handler = filters.WithLatencyTrackers(handler)
	handler = filters.WithRequestInfo(handler, c.RequestInfoResolver)
	handler = filters.WithRequestReceivedTimestamp(handler)
	handler = genericfilters.WithPanicRecovery(handler, c.RequestInfoResolver)
	handler = filters.WithAuditInit(handler)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stack.Grow()
		handler.ServeHTTP(w, r)
	})
}

// largeSeats is how many seats a list takes that is large: a seat is for 100 kB.
const largeSeats = 5

// limited lets each user have only some large lists made at a time: one more than are
// encoded at a time, so that one is at hand while another is on its way.
func limited(handler http.Handler, c *genericapiserver.Config, stats statistics) http.Handler {
	seats := request.NewWorkEstimator(stats, c.FlowControl.GetInterestedWatchCount,
		request.DefaultWorkEstimatorConfig(), func(string) uint64 { return 0 })
	return lists.Limit(handler, lists.Options{
		Large:  func(r *http.Request) bool { return seats(r, "", "").InitialSeats >= largeSeats },
		AtOnce: turns() + 1,
		Wait:   c.RequestTimeout / 4,
	})
}

// statistics tells how many objects a resource has and of which size, by which lists
// are charged.
type statistics = func(resource string) (storage.Stats, error)

// likelySize is how large an object is taken to be, in bytes, before it is known.
const likelySize = 2 << 10

// current corrects what is counted once a minute by how many objects there are now.
func current(counted statistics, now func(schema.GroupResource) int) statistics {
	return func(resource string) (storage.Stats, error) {
		stats, err := counted(resource)
		if n := now(schema.ParseGroupResource(resource)); n > 0 {
			stats.ObjectCount, err = int64(n), nil
			if stats.EstimatedAverageObjectSizeBytes <= 0 {
				stats.EstimatedAverageObjectSizeBytes = likelySize
			}
		}
		return stats, err
	}
}

// turns is how many large answers are made at a time: a processor is left for the rest.
func turns() int { return max(1, goruntime.GOMAXPROCS(0)-1) }

// shutdown tells watches that the server ends.
type shutdown <-chan struct{}

func (s shutdown) ShuttingDown() <-chan struct{} { return s }

// The filters whose time is worth a metric: others only look at the request.

func timedAuthenticator(next authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		defer timed(r.Context(), "authentication", time.Now())
		return next.AuthenticateRequest(r)
	})
}

type timedAuthorizer struct{ authorizer.Authorizer }

func (t timedAuthorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	defer timed(ctx, "authorization", time.Now())
	return t.Authorizer.Authorize(ctx, a)
}

func timed(ctx context.Context, filter string, began time.Time) {
	metrics.RecordFilterLatency(ctx, filter, time.Since(began))
}
