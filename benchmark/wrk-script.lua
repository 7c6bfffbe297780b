-- A mixture of requests for wrk:
--
--   wrk -t8 -c200 -d60s --latency -s benchmark/wrk-script.lua http://localhost:8080
--
-- Nine in ten are GETs of different paths, one is a POST with a small JSON body. It prints percentiles and errors by
-- kind, which wrk itself adds up.

local paths = { "/", "/api/users", "/api/users/42", "/static/app.js", "/health" }
local body = '{"name":"balance","size":128}'
local number = 0

-- Threads begin at different places, so that they do not ask for the same at the same time.
local threads = 0
function setup(thread)
    thread:set("offset", threads)
    threads = threads + 1
end

function init()
    number = offset or 0
end

function request()
    number = number + 1
    if number % 10 == 0 then
        return wrk.format("POST", "/api/items", { ["Content-Type"] = "application/json" }, body)
    end
    return wrk.format("GET", paths[number % #paths + 1])
end

function done(summary, latency)
    local seconds = summary.duration / 1e6
    print(string.format("\n%d requests in %.1f s: %.0f/s, %.2f MB/s",
        summary.requests, seconds, summary.requests / seconds, summary.bytes / seconds / 1e6))
    for _, share in ipairs({ 50, 90, 95, 99, 99.9 }) do
        print(string.format("p%-5s %8.0f us", share, latency:percentile(share)))
    end
    print(string.format("max    %8.0f us", latency.max))
    local errors = summary.errors
    print(string.format("errors: %d connect, %d read, %d write, %d timeout, %d status",
        errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
