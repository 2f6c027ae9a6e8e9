"""The research workflow: search, extract the text of every hit, analyse its sentiment, summarise what was found."""

import podium


def research_workflow(*, max_parallel: int = 4) -> podium.Workflow:
    """Return the workflow, which is started with what `research_input` returns.

    Args:
        max_parallel: How many documents are read at once.
    """
    workflow = podium.Workflow("research", timeout="15m")
    query = workflow.input["query"]
    search = workflow.step("search", step_id="search", query=query, limit=workflow.input["limit"])
    # A document that cannot be read leaves a gap in the list, and does not end the work on the others.
    texts = workflow.step(
        "extract_text",
        step_id="extract",
        for_each=search.output["hits"],
        max_parallel=max_parallel,
        on_failure="continue",
        document=podium.item["name"],
        query=query,
    )
    found = search.output["count"].cel
    sentiment = workflow.step(
        "analyze_sentiment",
        step_id="sentiment",
        when=f"{workflow.input['sentiment'].cel} && {found} > 0",
        on_failure="continue",
        texts=texts,
    )
    # "done": a sentiment that was skipped, or failed, is null here and does not keep the summary from being made.
    workflow.step("summarize", step_id="summarize", join="done", query=query, documents=texts, sentiment=sentiment)
    return workflow


def research_input(query: str, *, limit: int = 6, sentiment: bool = True) -> dict[str, object]:
    """Return the workflow's input: what to look for, in how many documents, and whether sentiment matters."""
    return {"query": query, "limit": limit, "sentiment": sentiment}
