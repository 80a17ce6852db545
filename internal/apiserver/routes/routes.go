// Package routes leads a request to its handler by a tree of path segments.
//
// k8s.io/apiserver installs its handlers as go-restful routes. go-restful finds one by
// trying every web service and then every route of one, and keeps a compiled regular
// expression for each: of some 1,500 routes those are 7 MB, which its router for paths
// in curly brackets never looks at, and the search was a twentieth of the CPU time of
// a small request. The tree keeps what answers and nothing else. Which route is taken,
// and with which error a request is refused, is as go-restful has it; the test holds
// both against each other.
package routes

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	restful "github.com/emicklei/go-restful/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
)

// Table is a tree of routes. It is built before it serves and then only read.
type Table struct {
	root   node
	errors runtime.NegotiatedSerializer
}

// New makes an empty table, which words refusals with errors.
func New(errors runtime.NegotiatedSerializer) *Table { return &Table{errors: errors} }

// node is a place in the tree: what was reached with the segments so far.
type node struct {
	fixed map[string]*node
	any   *node   // for one segment, whatever it is
	here  []route // for a path that ends here
	rest  []route // for a path that goes on, over at least one more segment
}

// route is what of a go-restful route is needed to take it.
type route struct {
	method             string // "" is every one
	consumes, produces []string
	function           restful.RouteFunction
}

// Add takes over all routes of a web service. It does not hold on to the service.
// Filters, conditions and expressions for a segment are not for what
// k8s.io/apiserver installs, and panic.
func (t *Table) Add(ws *restful.WebService) {
	for _, r := range ws.Routes() {
		if len(r.Filters) > 0 || len(r.If) > 0 {
			panic(fmt.Sprintf("route %s %s has filters or conditions", r.Method, r.Path))
		}
		t.add(r.Path, route{method: r.Method, consumes: r.Consumes, produces: r.Produces, function: r.Function})
	}
}

// Handle lets a handler have all requests for a path, whatever they send or accept.
func (t *Table) Handle(path string, h http.Handler) {
	t.add(path, route{produces: []string{"*/*"}, function: func(in *restful.Request, out *restful.Response) {
		h.ServeHTTP(out.ResponseWriter, in.Request)
	}})
}

func (t *Table) add(path string, r route) {
	at := &t.root
	for segment, more := range segments(path) {
		switch {
		case !strings.HasPrefix(segment, "{"):
			if at.fixed == nil {
				at.fixed = map[string]*node{}
			}
			if at.fixed[segment] == nil {
				at.fixed[segment] = &node{}
			}
			at = at.fixed[segment]
		case strings.HasSuffix(segment, ":*}") && !more:
			at.rest = append(at.rest, r)
			return
		case strings.Contains(segment, ":"):
			panic("route " + path + " has an expression for a segment")
		default:
			if at.any == nil {
				at.any = &node{}
			}
			at = at.any
		}
	}
	at.here = append(at.here, r)
}

// segments are the parts of a path, and whether more follow. Slashes at the ends do
// not count.
func segments(path string) func(yield func(string, bool) bool) {
	return func(yield func(string, bool) bool) {
		rest, more := strings.Trim(path, "/"), true
		for more {
			var segment string
			segment, rest, more = strings.Cut(rest, "/")
			if !yield(segment, more) {
				return
			}
		}
	}
}

// Serve answers a request whose path is that of a route, and says whether it is.
func (t *Table) Serve(w http.ResponseWriter, r *http.Request) bool {
	// Slashes within a path and after it do not count, but a path that begins with
	// two is below no service's root.
	if strings.HasPrefix(r.URL.Path, "//") {
		return false
	}
	var room [8]*route
	path := strings.Trim(r.URL.Path, "/")
	candidates := t.root.match(room[:0], path, path != "")
	if len(candidates) == 0 {
		return false
	}
	chosen, refusal := choose(candidates, r)
	if chosen == nil {
		responsewriters.ErrorNegotiated(
			apierrors.NewGenericServerResponse(refusal.code, "", schema.GroupResource{}, "", refusal.message, 0, false),
			t.errors, schema.GroupVersion{}, w, r)
		return true
	}
	chosen.function(restful.NewRequest(r), restful.NewResponse(w))
	return true
}

// match appends the routes for the rest of a path, those with the more fixed
// segments first. More tells whether anything of the path is left.
func (n *node) match(found []*route, rest string, more bool) []*route {
	if !more {
		return appendAll(found, n.here)
	}
	segment, after, goesOn := strings.Cut(rest, "/")
	if next := n.fixed[segment]; next != nil {
		found = next.match(found, after, goesOn)
	}
	if n.any != nil {
		found = n.any.match(found, after, goesOn)
	}
	return appendAll(found, n.rest)
}

func appendAll(found []*route, routes []route) []*route {
	for i := range routes {
		found = append(found, &routes[i])
	}
	return found
}

// refusal says why none of a path's routes takes a request, in go-restful's words.
type refusal struct {
	code    int
	message string
}

// choose returns the first route that takes the request.
func choose(candidates []*route, r *http.Request) (*route, refusal) {
	of := candidates[:0]
	for _, c := range candidates {
		if c.method == r.Method || c.method == "" {
			of = append(of, c)
		}
	}
	if len(of) == 0 {
		return nil, refusal{http.StatusMethodNotAllowed, "405: Method Not Allowed"}
	}
	takes := of[:0]
	for _, c := range of {
		if c.takes(r.Header.Get("Content-Type")) {
			takes = append(takes, c)
		}
	}
	if len(takes) == 0 {
		return nil, refusal{http.StatusUnsupportedMediaType, "415: Unsupported Media Type"}
	}
	accept := r.Header.Get("Accept")
	var available []string
	for _, c := range takes {
		if accept == "" || names(c.produces, accept, true) {
			return c, refusal{}
		}
		available = append(available, c.produces...)
	}
	return nil, refusal{http.StatusNotAcceptable, "406: Not Acceptable\n\nAvailable representations: " + strings.Join(available, ", ")}
}

// takes tells whether the route reads bodies of the content type.
func (r *route) takes(contentType string) bool {
	if len(r.consumes) == 0 {
		return true
	}
	if contentType == "" {
		switch r.method {
		case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete, http.MethodTrace:
			return true
		}
		contentType = restful.MIME_OCTET
	}
	return names(r.consumes, contentType, false)
}

// names tells whether a header with media types, separated by commas, names one of
// those known, or any one if it may.
func names(known []string, header string, anyOne bool) bool {
	for more := true; more; {
		var media string
		media, header, more = strings.Cut(header, ",")
		media, _, _ = strings.Cut(media, ";")
		media = strings.Trim(media, " ")
		if anyOne && media == "*/*" || slices.Contains(known, media) || slices.Contains(known, "*/*") {
			return true
		}
	}
	return false
}
